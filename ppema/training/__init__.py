"""The training loop, and what it needs at hand: set-up, resuming, saving, stopping."""
