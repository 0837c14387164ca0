"""Trains a run: the loop, its set-up, resuming, saving and stopping."""
