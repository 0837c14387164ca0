"""The kinds of data sets that a config can name."""
