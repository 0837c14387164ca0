"""Whether an installation works: checks of Paddle, of the device, and of what ppema makes of them."""
