"""Fixtures that several test modules use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may reach for the Hub

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("GIFINE_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The developers' folder with golden numbers, GLUE files and tokenizers."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the developers' shared folder ({SHARED}); GIFINE_SHARED names another place")
    return SHARED
