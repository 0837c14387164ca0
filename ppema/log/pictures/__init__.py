"""Images of a run for VisualDL: confusion matrices, and samples with their predictions."""
