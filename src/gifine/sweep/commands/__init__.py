"""What can be asked of a sweep: a command a file, with `add_arguments` and `run`; its first line is its help."""
