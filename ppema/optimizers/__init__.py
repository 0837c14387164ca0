"""Optimizers and learning-rate schedules of a config: Paddle's own or the user's, with checked arguments."""
