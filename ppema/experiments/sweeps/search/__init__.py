"""What a sweep searches: the points of its space, and the lengths of averages after each run."""
