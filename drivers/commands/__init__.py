"""Subcommands of `columnist` that serve instruments."""
