"""Checks of a prepared data set: counts, images, cameras, synchronization, boxes, limbs."""
