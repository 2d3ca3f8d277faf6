"""`gifine sync RUNS_OR_ROOT…`: upload to Weights & Biases what runs without a way to its server have left.

`wandb sync` does the work. It leaves a mark beside what it has uploaded, which makes this safe to repeat. What it does
not do is done here: it ends at the first file of which nothing was written, counts one that ends within an entry as not
uploaded for ever, and lets the summary of an early attempt replace that of a later one.
"""

from __future__ import annotations

import argparse
import logging
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from gifine import commands
from gifine.errors import ExitCode, OutputError, RunError
from gifine.runs import identity, lifecycle, records, tree
from gifine.runs.records import Record
from gifine.tracking import wandb_run, wandb_server

log = logging.getLogger(__name__)

_BATCH = 100  # runs in one call of wandb, whose command line must not be too long
# A .wandb file is a log of LevelDB's format: 7 bytes, then blocks of 32 KiB with entries, which do not cross blocks.
# (https://github.com/google/leveldb/blob/main/doc/log_format.md)
_FILE_HEADER = 7
BLOCK = 32 * 1024
_ENTRY_HEADER = struct.Struct("<IHB")  # checksum, length, type
_LAST_OF_RECORD = (1, 4)  # the types "full" and "last"


@dataclass
class Left:
    """What one run has left."""

    folder: Path
    record: Record
    files: list[Path]  # one of each attempt, the earliest first


def main(words: Sequence[str] | None = None) -> ExitCode:
    parser = commands.Parser(
        prog="gifine sync",
        description="Upload to Weights & Biases what offline runs left. What is there already is not uploaded again.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUNS_OR_ROOT", help="folders of runs, or above them")
    parser.add_argument("--dry-run", action="store_true", help="only list what would be uploaded")
    return commands.call(sync, parser, words)


def sync(arguments: argparse.Namespace) -> ExitCode:
    missing = [str(path) for path in arguments.runs if not path.exists()]
    if missing:
        raise RunError("\n".join(f"{path}: no such file or folder" for path in missing))
    left = list(find(arguments.runs))
    if arguments.dry_run:
        for run in left:
            print(run.folder)
    if not left or arguments.dry_run:
        log.info("%d runs to upload", len(left))
        return ExitCode.DONE
    wandb_server.log_in()
    for run in left:
        for path in run.files:
            cut(path)
    failed: list[Left] = []
    said: list[str] = []
    with tqdm(total=len(left), unit=" runs", disable=not sys.stderr.isatty()) as bar:
        for start in range(0, len(left), _BATCH):
            batch = left[start : start + _BATCH]
            said += _upload([path for run in batch for path in run.files])
            for run in batch:
                is_there = all(_mark(path).exists() for path in run.files)
                problem = _conclude(run) if is_there else None
                said += [problem] if problem else []
                failed += [] if is_there and problem is None else [run]
            bar.update(len(batch))
    log.info("%d runs uploaded to %s", len(left) - len(failed), wandb_server.address())
    if not failed:
        return ExitCode.DONE
    log.error("%d not uploaded; the same command tries them again:", len(failed))
    for line in [*(str(run.folder) for run in failed), *said]:
        log.error("  %s", line)
    return ExitCode.FAILED


def find(paths: Sequence[Path]) -> Iterator[Left]:
    """The runs in or below `paths` that have something to upload; those that a process is at are left alone."""
    for folder in sorted({folder for path in paths for folder in tree.below(path)}):
        files = _files(folder)
        if not files and not (folder / wandb_run.UNSENT).exists():
            continue
        try:
            record = records.read(folder)
            assert record is not None
            with lifecycle.locked(folder):
                pass
        except OutputError as error:
            log.warning("left out: %s", error)
            continue
        yield Left(folder, record, files)


def _files(folder: Path) -> list[Path]:
    """What was written and not uploaded: offline, or online by an attempt that wandb did not finish."""
    wanted = ["offline-run-*/run-*.wandb"]
    if (folder / wandb_run.UNSENT).exists():
        wanted.append("run-*/run-*.wandb")
    found = [path for pattern in wanted for path in (folder / tree.TRACKED).glob(pattern)]
    found = [path for path in found if not _mark(path).exists() and path.stat().st_size > _FILE_HEADER]
    return sorted(found, key=_started)


def _started(path: Path) -> list[str]:
    """When its attempt started, from the name of its folder: `[offline-]run-<date>_<time>-<id>[-<n>]`.

    wandb adds the number where one second has several.
    """
    return path.parent.name.removeprefix("offline-").split("-")[1:]


def _mark(path: Path) -> Path:
    return path.with_suffix(".wandb.synced")


def cut(path: Path) -> None:
    """Take off what follows the last whole record of a .wandb file: a killed process has written a part of one."""
    end = position = _FILE_HEADER
    with path.open("r+b") as file:
        content = file.read()
        while position + _ENTRY_HEADER.size <= len(content):
            _, length, kind = _ENTRY_HEADER.unpack_from(content, position)
            position += _ENTRY_HEADER.size + length
            if kind in _LAST_OF_RECORD and position <= len(content):
                end = position
            if BLOCK - position % BLOCK < _ENTRY_HEADER.size:  # too little for an entry: zeros
                position += BLOCK - position % BLOCK
        if end < len(content):
            file.truncate(end)


def _upload(files: Sequence[Path]) -> list[str]:
    """Call wandb, and return what it said went wrong."""
    if not files:  # else it takes the current folder's
        return []
    command = [sys.executable, "-m", "wandb", "sync", "--include-online", *map(str, files)]
    with tempfile.TemporaryDirectory() as logs:
        environment = os.environ | {"WANDB_DIR": logs}  # else they are left in the current folder
        environment.pop("WANDB_MODE", None)  # of runs: what is called for here is an upload
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603 - no shell
    lines = (done.stdout + done.stderr).splitlines()
    return [line.removeprefix("wandb: ") for line in lines if "ERROR" in line or line.startswith("Error:")]


def _conclude(run: Left) -> str | None:
    """Where what was uploaded does not end with the summary that the record has, set it; what went wrong with that."""
    unsent = run.folder / wandb_run.UNSENT
    last = max((run.folder / tree.TRACKED).glob("*run-*/run-*.wandb"), key=_started, default=None)
    if last in run.files and not unsent.exists():
        return None
    try:
        unsent.touch()  # if this fails, the next call tries it again
        wandb_run.conclude(identity.from_dict(run.record.config), run.folder, run.record)
        unsent.unlink()
    except Exception as error:  # whatever wandb raises
        return f"{run.record.slug}: {type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    sys.exit(main())
