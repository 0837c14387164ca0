"""Paddle's launcher: its arguments, its folder of logs, and its run."""
