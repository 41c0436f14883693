"""The subcommands of `columnist` that need the simulator, one module each."""
