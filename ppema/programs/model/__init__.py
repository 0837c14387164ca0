"""The model of a config in a program: its inputs and what is done to them, its outputs, and its losses."""
