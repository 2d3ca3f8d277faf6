"""What a machine without network needs for `python -m benchmarks.gpu`, in one folder: `make gpu-pack`.

    .gpu/wheels    packages that a machine with PyTorch may lack or have in another version, each alone (--no-deps)
    .gpu/data      golden numbers, CoLA's rows and a vocabulary, of the developers' shared folder where that is there

It assumes what images with PyTorch have: torch, numpy, scipy, pandas, pyarrow, matplotlib and what these need. git
keeps none of it.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.gpu.__main__ import PACK, ROOT
from benchmarks.workloads import SHARED

# Large, and on every machine with PyTorch; what they need comes with them.
PRESENT = {"torch", "numpy", "scipy", "pandas", "pyarrow", "matplotlib", "pillow", "aiohttp", "sympy", "networkx"}
PEERS = ("flashdeberta==0.0.8", "disentangled-flash==1.1.1")
DATA = ("golden/bert", "golden/deberta_v2", "glue/CoLA", "tokenizers/deberta-v3-base")
MOST_MB = 55
_MANYLINUX = ("2_34", "2_28", "2_27", "2_24", "2_17", "2014", "2010", "1")


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.pack", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=PACK)
    parser.add_argument("--python", default="3.12", help="of the machine with the GPU (%(default)s)")
    args = parser.parse_args(words)
    shutil.rmtree(args.out, ignore_errors=True)
    wheels = args.out / "wheels"
    wheels.mkdir(parents=True)
    pinned = _pinned()
    chosen = [f"{name}=={pinned[name]}" for name in sorted(needed()) if name in pinned]
    for requirement in [*chosen, *PEERS]:
        _fetch(requirement, wheels, args.python)
    for name in DATA:
        if (SHARED / name).is_dir():
            shutil.copytree(SHARED / name, args.out / "data" / name)
    megabytes = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file()) / 1e6
    print(f"{args.out}: {len([*wheels.iterdir()])} wheels, {megabytes:.1f} MB with data")
    if megabytes > MOST_MB:
        print(f"more than {MOST_MB} MB: what is large must be on the machine", file=sys.stderr)
        return 1
    return 0


def needed() -> set[str]:
    """gifine's requirements and theirs, without what is present."""
    found: set[str] = set()
    waiting = ["gifine"]
    while waiting:
        name = waiting.pop()
        try:
            listed = requires(name) or []
        except PackageNotFoundError:  # for another platform
            continue
        for text in listed:
            requirement = Requirement(text)
            other = canonicalize_name(requirement.name)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
            if other not in PRESENT | found:
                found.add(other)
                waiting.append(other)
    return found


def _pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    matches = [re.match(r"([\w.-]+)==(\S+)", line) for line in lines]
    return {canonicalize_name(match[1]): match[2] for match in matches if match}


def _fetch(requirement: str, folder: Path, python: str) -> None:
    """A wheel for Linux on x86-64; of a package that has only its source, one that is built here."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    tags = [word for tag in _MANYLINUX for word in ("--platform", f"manylinux{'_' if '_' in tag else ''}{tag}_x86_64")]
    wanted = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python, *tags]
    download = [*pip, "download", "--no-deps", "--dest", str(folder), *wanted, requirement]
    if subprocess.run(download, capture_output=True, check=False).returncode:
        subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), requirement], check=True)


if __name__ == "__main__":
    sys.exit(main())
