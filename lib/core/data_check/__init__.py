"""Is a prepared data set right? Counts, images, cameras, synchrony, boxes, limbs."""
