"""Folders of configs that installed packages name (`gifine.conf`): Hydra looks there, too, after gifine's own."""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class PackageDirs(SearchPathPlugin):
    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        from gifine.compose.conf_dir import PACKAGES, package_dirs  # Hydra imports every plugin at its start

        for folder in package_dirs():
            search_path.append(provider=PACKAGES, path=f"file://{folder}")
