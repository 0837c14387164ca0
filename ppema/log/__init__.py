"""Reports a run: lines for people, records, VisualDL scalars, and curves."""
