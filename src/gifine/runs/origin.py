"""Where weights come from that a run starts from: a run, perhaps, and files."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from gifine.config import ModelConfig
from gifine.inputs import model_files
from gifine.runs import identity, records, replicate


def package(model: ModelConfig) -> dict[str, str] | None:
    """Name and version of the installed package whose weights a run reads; None where it reads none of a package."""
    source = model_files.source(model)
    if model.random_init or not source.startswith(model_files.PACKAGE):
        return None
    module = source.removeprefix(model_files.PACKAGE).partition("/")[0]
    names = packages_distributions().get(module, [])
    return {"name": names[0], "version": version(names[0])} if names else None


def trace(init_from: str) -> dict[str, Any]:
    """What is known of them: the run, if one made them, and the hash of each file.

    Raises:
        ModelError: for a folder without weights.
    """
    folder = model_files.saved_model(init_from)
    hashes = {}
    for path in model_files.weight_files(folder):
        with path.open("rb") as file:
            hashes[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return {"folder": str(folder), **made_by(init_from), "sha256": hashes}


def made_by(init_from: str) -> dict[str, Any]:
    """The run that made them, as its record has it: also where there are no weights, which is told later.

    Of pre-training also the fingerprint of its text, and how much of it was seen.
    """
    record = records.entries(Path(init_from).expanduser())
    pretrained = {}
    if seen := record.get("seen"):
        pretrained = {"text": record.get("provenance", {}).get("data", {}).get("train"), "seen": seen}
    known = {key: record.get(key) for key in ("run_id", "slug", "status", "metrics")}
    return {**known, **pretrained, **as_parent(record)}


def as_parent(record: dict[str, Any]) -> dict[str, Any]:
    """What tells how alike two runs start that start from different runs; empty for a record that does not say.

    `role` is a hash of all that decides the run but its change and its seeds, `seed` the name of these
    (`Replicate.name`). Runs of one role, of the same seed and each with the change of the run that starts from it, are
    twins as their children are.
    """
    try:
        contents, own = dict(record.get("contents") or {}), dict(record["provenance"].get("init_from") or {})
        if "role" in own:
            contents["model.init_from"] = own["role"]
        kept = identity.deciding(record["config"], contents)
        change, seed = identity.take_change(kept), kept.pop("seed")
        first = replicate.parse(own["seed"]) if "seed" in own else None
        seed = replicate.replicate(int(seed), kept.pop("seeds", {}), first).name
        text = json.dumps(kept, sort_keys=True)
        task = record["config"]["task"]
        name, title = task["name"], task.get("title") or task["name"]
    except (LookupError, TypeError, AttributeError, ValueError):
        return {}
    role = hashlib.sha256(text.encode()).hexdigest()[:12]
    return {"role": role, "task": name, "title": title, "seed": seed, **change}
