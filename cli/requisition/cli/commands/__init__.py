"""The commands of `plan`, one module a group; `main.COMMANDS` is the table. Each: options in, one call into a
house, drawing out."""
