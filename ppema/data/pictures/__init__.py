"""Picture files: decoding, finding them, and their preparation for a model as its run prepared pictures."""
