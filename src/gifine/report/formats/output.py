"""The folder of `--out`: what an earlier report wrote and this one did not is deleted, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

MANIFEST = ".report-files.json"  # the SHA-256 of each file that reports have written there


@dataclass(slots=True)
class Output:
    folder: Path
    earlier: dict[str, str]  # by name what an earlier report wrote
    written: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, content: bytes | Iterable[str]) -> None:
        """A file of bytes, or of a text's pieces; its name is relative to the folder, with `/`."""
        path, digest = self.folder / name, hashlib.sha256()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            try:
                for data in [content] if isinstance(content, bytes) else (_encoded(piece) for piece in content):
                    file.write(data)
                    digest.update(data)
            finally:  # half of a file is ours to delete as well
                self.written[name] = digest.hexdigest()


def _encoded(text: str) -> bytes:
    """Names of folders that are no UTF-8 as JSON and people write what is no character: `\\udcff`."""
    return text.encode(errors="backslashreplace")


@contextmanager
def into(folder: Path) -> Generator[Output]:
    """Write a report; if that breaks off, what there was before stays, to be deleted by the next one."""
    folder.mkdir(parents=True, exist_ok=True)
    output = Output(folder, _read(folder))
    try:
        yield output
        for name in output.earlier.keys() - output.written.keys():
            _delete(folder, name, output.earlier[name])
        output.earlier = {}
    finally:
        text = json.dumps(output.earlier | output.written, indent=1, sort_keys=True)
        (folder / MANIFEST).write_text(f"{text}\n", encoding="utf-8")


def _read(folder: Path) -> dict[str, str]:
    try:
        entries = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    if not isinstance(entries, dict):
        return {}
    return {name: digest for name, digest in entries.items() if _is_inside(name)}


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _delete(folder: Path, name: str, digest: str) -> None:
    """Unless somebody has put something else there, or has deleted it."""
    path = folder / name
    if path.is_file() and not path.is_symlink() and _digest(path.read_bytes()) == digest:
        path.unlink()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
