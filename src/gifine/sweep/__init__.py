"""Sweeps: many runs as jobs of SLURM, or as processes on this machine.

`submission.py` is what a launcher does, `job.py` what a job does; `ledger.py` is the memory between them. The commands
on a sweep's folder are a module each: `__main__.py` lists them. No torch here: a job starts runs in other processes.
"""
