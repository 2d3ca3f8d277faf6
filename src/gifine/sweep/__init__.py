"""`python -m gifine.sweep COMMAND …`: what can be asked of many runs. A command is a file here; `_*.py` is shared."""
