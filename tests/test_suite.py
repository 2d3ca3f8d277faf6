"""What the tests themselves rely on."""

from __future__ import annotations

import os

import pytest


@pytest.mark.xdist_group("one worker")
def test_groups_are_kept_together(request):
    """Tests of one SLURM, or of one machine's processes, must not run side by side; xdist knows groups by node ids."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        assert request.node.nodeid.endswith("@one worker")
