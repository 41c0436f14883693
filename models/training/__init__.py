"""Learning from the simulator: data sets, expected contrasts, training.  Nothing else in `models` imports it."""
