"""Networks from the 31 features of a column to five logits, one architecture a file."""
