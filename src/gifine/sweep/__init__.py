"""Sweeps: many runs as jobs of SLURM, or as processes on this machine.

`launch.py` is what a launcher does, `batches.py` hands runs to the scheduler, `job.py` is what a job does; `ledger.py`
is the memory between them. The commands on a sweep's folder are a file each in commands/. No torch here: a job starts
runs in other processes.
"""
