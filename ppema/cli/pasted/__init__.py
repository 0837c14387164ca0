"""The commands that a user may want next, written so that they can be pasted into the same shell."""
