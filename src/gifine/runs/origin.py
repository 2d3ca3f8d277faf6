"""Where weights come from that a run starts from: a run, perhaps, and files."""

from __future__ import annotations

import hashlib
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from gifine.config import ModelConfig
from gifine.inputs import model_files
from gifine.runs import records


def package(model: ModelConfig) -> dict[str, str] | None:
    """Name and version of the installed package whose weights a run reads; None where it reads none of a package."""
    source = model_files.source(model)
    if model.random_init or not source.startswith(model_files.PACKAGE):
        return None
    module = source.removeprefix(model_files.PACKAGE).partition("/")[0]
    names = packages_distributions().get(module, [])
    return {"name": names[0], "version": version(names[0])} if names else None


def trace(init_from: str) -> dict[str, Any]:
    """What is known of them: the run, if one made them, and the hash of each file."""
    folder = model_files.saved_model(init_from)
    made_by = records.entries(Path(init_from).expanduser())
    hashes = {}
    for path in model_files.weight_files(folder):
        with path.open("rb") as file:
            hashes[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "folder": str(folder),
        "run_id": made_by.get("run_id"),
        "slug": made_by.get("slug"),
        "metrics": made_by.get("metrics"),
        "sha256": hashes,
    }
