"""From the downloads of the data sets to the files that training reads."""
