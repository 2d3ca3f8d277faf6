"""What a run leaves in its process."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from gifine import execution

PROGRAM = """
import resource, sys
from gifine import execution
if sys.argv[1] == "held":
    execution.hold()

def step():
    pieces = [bytearray(20_000_000) for _ in range(8)]  # too small to be mapped; touched when they are made
    return len(pieces)

step(), step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step(), step(), step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_a_step_finds_the_memory_of_the_one_before():
    def faults(how: str) -> int:
        command = [sys.executable, "-c", PROGRAM, how]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert faults("held") * 10 < faults("as it is")


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_memory_in_pieces_is_given_back():
    pieces = [bytearray(100_000) for _ in range(3_000)]  # too small for pages of their own
    last = bytearray(100_000)  # lies above them, so that the heap cannot shrink by itself
    full = psutil.Process().memory_info().rss
    pieces.clear()
    execution.release()
    assert full - psutil.Process().memory_info().rss > 200e6
    assert last
