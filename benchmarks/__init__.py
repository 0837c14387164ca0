"""Measures the cost of ppema, as ratios to a reference measured in the same run."""
