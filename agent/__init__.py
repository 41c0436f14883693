"""The autonomous agent and the `columnist` command."""
