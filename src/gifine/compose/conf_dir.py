"""Where the configs are that come with gifine."""

from __future__ import annotations

from pathlib import Path


def conf_dir() -> Path:
    """The configs: inside an installed wheel, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"
