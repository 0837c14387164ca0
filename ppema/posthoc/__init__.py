"""Builds averages of finished runs from their snapshots or checkpoints, and measures them."""
