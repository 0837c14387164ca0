"""Figures: what ppema costs, as ratios to what it is measured beside, in one run."""
