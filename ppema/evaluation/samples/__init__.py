"""The statistics of each sample of an evaluation: kept in files, and resampled to tell differences from noise."""
