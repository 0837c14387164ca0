"""The operations of Paddle's optimizers, as far as ppema's own operation can replace them."""
