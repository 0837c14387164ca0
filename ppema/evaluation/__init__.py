"""Measures weights on a data set."""
