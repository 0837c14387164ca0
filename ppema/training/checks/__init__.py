"""Steps and states whose numbers are not finite."""
