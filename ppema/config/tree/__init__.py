"""The tree of a config: YAML files merged with their bases, each value with its position in a file."""
