"""From words of a command line to checked configs. No torch."""
