"""What runs were computed with: what a record says beside its config, and what moves results.

`training/circumstances.py` and `runs/provenance.py` write it. What an older record does not say differs from nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

Circumstances = dict[str, str]  # by name; the names are for people

CODE = "code"
COMMIT = "commit"  # says less than CODE: two commits may have the same code
KERNEL = "attention kernel"
_SHORT = 12  # hex digits of a hash
_OF_CPUS = {"CPU": "cpu", "vector units": "cpu_capability"}
_OF_ALL = {
    "processes": "processes",
    "CUDA": "cuda",
    "cuDNN": "cudnn",
    "driver": "driver",
    "precision": "precision",
    "float32 products": "float32_products",
    "deterministic": "deterministic",
    KERNEL: "attention",
}


def collect(config: dict[str, Any], provenance: dict[str, Any]) -> Circumstances:
    """Of a record's config and provenance, as far as they say it. Threads and processor count on a CPU alone.

    Raises:
        TypeError, AttributeError: for parts of another kind than gifine writes.
    """
    device = str(provenance.get("device") or "").partition(":")[0]
    threads = (provenance.get("threads") or {}).get("torch")
    found: dict[str, Any] = {
        CODE: provenance["code"][:_SHORT] if provenance.get("code") else None,
        COMMIT: _commit(provenance),
        "attention": _attention(config, provenance),
        "device": device or None,
        "GPUs": _gpus(provenance.get("gpus") or []),
        "threads": threads if device == "cpu" else None,
        **{name: provenance.get(key) if device == "cpu" else None for name, key in _OF_CPUS.items()},
        **{name: provenance.get(key) for name, key in _OF_ALL.items()},
        **(provenance.get("packages") or {}),
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def differing(ours: Circumstances, theirs: Circumstances) -> dict[str, tuple[str, str]]:
    """By name what both say, and say otherwise."""
    if ours is theirs:
        return {}
    found = {name: (ours[name], theirs[name]) for name in ours if theirs.get(name, ours[name]) != ours[name]}
    if CODE in ours and CODE in theirs:
        commits = found.pop(COMMIT, None)
        if CODE in found and commits is not None:  # which people know better than a hash
            found[CODE] = commits
    return found


def is_recorded(circumstances: Circumstances) -> bool:
    """Whether a run that came so far is of a gifine that wrote all of it down."""
    return "device" not in circumstances or "precision" in circumstances


def _commit(provenance: dict[str, Any]) -> str | None:
    git = provenance.get("git")
    if not git:
        return f"gifine {provenance['gifine']}" if provenance.get("gifine") else None
    diff = git.get("diff")
    changes = f" and changes {diff[:_SHORT]}" if diff else " and changes" if git.get("dirty") else ""
    return f"{str(git.get('commit'))[:_SHORT]}{changes}"


def _attention(config: dict[str, Any], provenance: dict[str, Any]) -> str | None:
    """`fast` or `hf`; older records have it in their config, or were computed by transformers. Others have one way."""
    if provenance.get("attention"):
        return provenance["attention"].partition("/")[0]
    model = config["model"]
    has_two = str(model.get("family")).startswith(("deberta", "xlnet"))
    return str(model.get("attention", "hf")) if has_two else None


def _gpus(names: list[str]) -> str | None:
    counts = Counter(names)
    return " and ".join(f"{count} × {name}" if count > 1 else name for name, count in sorted(counts.items())) or None
