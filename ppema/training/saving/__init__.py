"""Writes the state of a run while it trains."""
