"""Predicts: from inputs without targets to classes, probabilities and numbers, and their tables."""
