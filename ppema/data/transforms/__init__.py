"""Transforms of samples: augmentation of whole batches in numpy, with draws that depend on seed, epoch and sample alone."""
