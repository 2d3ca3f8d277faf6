"""Will runs work on this machine? `python -m gifine.doctor [prefetch=FOLDER] [OVERRIDE …]` says, and how to mend it.

Each module looks at one side and yields findings; nothing is changed but for a small file that is written and removed.
"""
