"""Averages of finished runs, built from snapshots or checkpoints."""
