"""The prefetched folder: is all that its manifest names whole, and does it cover the runs asked for?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from gifine import objectives
from gifine.config import RunConfig
from gifine.doctor.finding import Finding, ok, one_line, problem
from gifine.errors import UserError
from gifine.inputs import needs, offline
from gifine.inputs.offline import TOKENISED, Folder, Manifest, Snapshot

_AGAIN = "copy the folder again, whole, or run python -m gifine.prefetch with it again"


def check(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    yield ok("prefetch", f"{folder}: filled {manifest.updated} by gifine {manifest.gifine}")
    for name, snapshot in manifest.models.items():
        yield _snapshot(f"prefetch {name}", folder / snapshot.folder, snapshot)
    yield from _splits(folder, manifest)


def coverage(configs: list[RunConfig]) -> Iterator[Finding]:
    """Read what these runs would read, up to the tokenised splits."""
    from gifine.inputs import dataset, tokenizers  # transformers and datasets

    covered = 0
    for config in needs.tokenised(configs):
        try:
            reader = dataset.open_reader(config)
            reader.load(tokenizers.load_for(reader.config.model), objectives.choose(config.task))
            covered += 1
        except UserError as error:
            wanted, _, mend = one_line(error).partition("; on a machine with internet: ")
            yield problem("prefetch coverage", wanted, mend or _AGAIN)
    if covered:
        yield ok("prefetch coverage", f"pairs of task and model asked for that are there: {covered}")


def _snapshot(subject: str, place: Path, snapshot: Snapshot) -> Finding:
    for name, size in snapshot.files.items():
        path = place / name
        if not path.is_file():
            return problem(subject, f"{name} is not there", _AGAIN)
        if path.stat().st_size != size:
            return problem(subject, f"{name} has {path.stat().st_size} bytes, not {size}", _AGAIN)
        reason = damage(path) if path.suffix == ".safetensors" else None
        if reason:
            return problem(subject, f"{name}: {reason}", _AGAIN)
    if snapshot.weights:
        from gifine.models import bases  # torch and transformers

        try:
            bases.read_config(str(place))
        except UserError as error:
            return problem(subject, one_line(error), _AGAIN)
    return ok(subject, f"{'weights' if snapshot.weights else 'tokenizer'}, {sum(snapshot.files.values()) / 1e6:.1f} MB")


def damage(path: Path) -> str | None:
    """What is wrong with a safetensors file, by its header: it names the tensors, and where the last one ends."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if 8 + length > size:
            return "it ends before its header does"
        try:
            header = json.loads(file.read(length))
            end = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
        except (ValueError, TypeError, KeyError) as error:
            return f"its header cannot be read ({one_line(error)})"
    return None if size == 8 + length + end else f"{size} bytes, its header says {8 + length + end}"


def _splits(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    from gifine.inputs import hub  # datasets

    places = {f"the data {name}": (folder / offline.DATA / name, rows) for name, rows in manifest.datasets.items()}
    places |= {f"the tokens {name}": (folder / TOKENISED / name, rows) for name, rows in manifest.tokenised.items()}
    whole = 0
    for name, (place, rows) in places.items():
        try:
            examples = hub.read_split(place)
            if len(examples) != rows:
                raise ValueError(f"{len(examples)} rows, not {rows}")
            examples[rows - 1]
            whole += 1
        except Exception as error:  # what a damaged file raises depends on where the damage is
            yield problem("prefetch data", f"{name}: {one_line(error)}", f"delete {place}, then {_AGAIN}")
    store = Folder(folder, manifest)
    for name in manifest.glue:
        if not store.has_file(name):
            yield problem("prefetch data", f"the official file {name} is not there, or not whole", _AGAIN)
    yield ok("prefetch data", f"{whole} splits can be read")
