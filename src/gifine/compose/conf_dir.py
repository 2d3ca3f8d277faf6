"""Where configs are: those that come with gifine, and those of installed packages."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from gifine.inputs.packaged import conf_dir

__all__ = ["PACKAGES", "conf_dir", "folders", "own_folders", "package_dirs"]

PACKAGES = "gifine.conf"  # the group of entry points by which a package names a folder, as --config-dir does


def folders(config_dir: str | Path | None = None) -> list[Path]:
    """All folders of configs: gifine's own, and `own_folders`."""
    return [conf_dir(), *own_folders(config_dir)]


def own_folders(config_dir: str | Path | None = None) -> list[Path]:
    """Those of the user: the one that --config-dir names, and those of installed packages."""
    return [*([Path(config_dir).absolute()] if config_dir else []), *package_dirs()]


@cache
def package_dirs() -> list[Path]:
    """The folders of configs that installed packages name: `NAME = "package.folder"`. The package is not imported."""
    found = []
    for point in sorted(entry_points(group=PACKAGES), key=lambda each: each.name):
        package, *inner = point.module.split(".")
        spec = find_spec(package)
        places = [] if spec is None else spec.submodule_search_locations or []
        found += [folder for place in places if (folder := Path(place).joinpath(*inner)).is_dir()]
    return found
