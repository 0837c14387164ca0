"""Paddle's launcher: its arguments, its folder of logs, its run, and how its ranks wait for each other."""
