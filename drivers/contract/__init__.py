"""The ground: units, contexts, materials and errors that every package shares."""
