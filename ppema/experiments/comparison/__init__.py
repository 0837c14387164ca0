"""Compares runs: tables over seeds, tests of differences, and intervals over the samples of an evaluation."""
