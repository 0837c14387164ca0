"""Models that leave a run: programs for inference, arrays, and a description of what they are."""
