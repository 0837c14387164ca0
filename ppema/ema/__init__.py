"""`ExponentialMovingAverage`: averages of weights in programs that the user builds and runs."""
