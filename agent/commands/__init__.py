"""The subcommands of `columnist` that need no simulator: each declares its options and runs."""
