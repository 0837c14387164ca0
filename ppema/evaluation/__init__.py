"""Measuring weights on a data set."""
