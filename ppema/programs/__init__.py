"""Builds the programs of a config, and runs them."""
