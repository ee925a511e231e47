"""Small tools without knowledge of the method."""
