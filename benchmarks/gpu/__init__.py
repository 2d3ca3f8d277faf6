"""Is gifine right on this GPU, and how fast? README.md here says how to ask, `__main__.py` is the command."""
