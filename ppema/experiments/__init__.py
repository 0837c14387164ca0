"""Many runs: sweeps over keys of a config, the comparison of runs, and pages about them. No paddle."""
