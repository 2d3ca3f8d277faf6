"""A wandb project as people look at it: a workspace and a report, built of what `tracking.py` logs."""
