"""Batches of one sample, and steps and states whose numbers are not finite."""
