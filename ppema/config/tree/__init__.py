"""YAML files, and the files that they inherit from, as one tree in which every value knows its position."""
