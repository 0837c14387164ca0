"""The built-in data sets that a config can name."""
