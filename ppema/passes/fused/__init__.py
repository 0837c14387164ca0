"""One C++ operation for the update of the optimizer and of all averages."""
