"""Going on with a run: which checkpoint, whether it fits, and what a longer run changes."""
