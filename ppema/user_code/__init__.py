"""Finds the user's own code that a config names, checks its arguments, and locates its errors. No paddle."""
