"""Column finding, classification and what they learn from."""
