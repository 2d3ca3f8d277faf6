"""What a run leaves in its process."""

from __future__ import annotations

import sys

import psutil
import pytest

from gifine import execution


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_memory_in_pieces_is_given_back():
    pieces = [bytearray(100_000) for _ in range(3_000)]  # too small for pages of their own
    last = bytearray(100_000)  # lies above them, so that the heap cannot shrink by itself
    full = psutil.Process().memory_info().rss
    pieces.clear()
    execution.release()
    assert full - psutil.Process().memory_info().rss > 200e6
    assert last
