"""Subcommands of `columnist` that learn from the simulator."""
