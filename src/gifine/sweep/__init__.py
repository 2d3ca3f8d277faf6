"""`python -m gifine.sweep COMMAND …`: what can be asked of many runs. `__main__.py` says which files are commands."""
