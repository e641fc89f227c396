"""The `plan` command: options in, one call into a house, drawing out. One module a command group."""
