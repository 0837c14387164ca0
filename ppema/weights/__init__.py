"""Weights from and to files: those of ppema, of Paddle, and of other programs."""
