"""The passes of a step that several processes train together."""
