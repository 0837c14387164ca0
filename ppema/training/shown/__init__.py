"""What `show` prints of a run before its first step."""
