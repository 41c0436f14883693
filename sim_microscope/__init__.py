"""A simulated microscope: crystals, column kernels, fields and the imaging model."""
