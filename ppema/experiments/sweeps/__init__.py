"""Trains many runs: a search space over keys of a config, trials in processes of their own, and their table."""
