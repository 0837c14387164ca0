"""Files of weights, read and written: those of ppema, of Paddle, and of other programs."""
