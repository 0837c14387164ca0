"""A factor of the loss that keeps small gradients representable in float16."""
