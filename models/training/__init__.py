"""Learning from the simulator: data sets, expected contrasts, training.  The rest of `models` does not."""
