"""An inspection from beginning to end: examples, one pass with all eyes open, then the change switched off in parts."""

from __future__ import annotations

import logging
from argparse import Namespace
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any

from gifine.config import GI
from gifine.inspect import ablation, loading
from gifine.inspect.findings import Findings
from gifine.inspect.loading import Loaded
from gifine.inspect.meaning import Spans
from gifine.inspect.passes import Pass
from gifine.models.change_config import ChangedConfig
from gifine.models.changed import at_work
from gifine.report.settings import shown
from gifine.runs import curves
from gifine.runs.finished import FinishedRun

log = logging.getLogger(__name__)

_SHOWN = 24  # examples with tokens on the page
_BYTES = 3_000_000  # of them


def look(folder: Path, run: FinishedRun | None, args: Namespace, scratch: Path) -> Findings:
    """
    Raises:
        ModelError, DataError: what cannot be read, as for `gifine evaluate`.
    """
    if run is None:
        loaded = loading.of_model(folder, args.text, args.base)
    else:
        loaded = loading.of_run(run, args.split, args.rows, args.text, scratch)
    log.info("%s: looking at %d examples", folder, len(loaded.features))
    sites = list(at_work(loaded.model))
    shown = _shown(loaded, len(sites))
    one = Pass(loaded, shown)
    logits = one.run()
    tracks = one.made_tracks()
    ablations = ablation.run(loaded, logits, tracks, args.seconds)
    examples = one.made_examples(logits)
    config = loaded.model.config
    settings = sites[0].settings if sites else None
    level, reach = getattr(settings, "level", 0), getattr(settings, "threshold", None)
    return Findings(
        title=run.record.slug if run else folder.name,
        subtitle=_subtitle(loaded, run, args),
        settings=_settings(config),
        notes=_notes(loaded, ablations is not None),
        depth=one.depth,
        heads=one.heads,
        examples=examples,
        shown=shown,
        batches=loaded.batches,
        tracks=tracks,
        peaks=one.peaks,
        coupled=bool(sites) and sites[0].change.name == GI and level > 0 and reach == "batch",
        attention=one.made_attention(),
        ablations=ablations,
        training=curves.change(folder) if run else {},
    )


def _shown(loaded: Loaded, sites: int) -> list[int]:
    """The first examples, as many as there is room for on a page: a byte for each site, head and token."""
    chosen, room = [], _BYTES
    for place, each in enumerate(loaded.features[:_SHOWN]):
        room -= max(1, sites) * loaded.model.config.num_attention_heads * len(each["input_ids"])
        if room < 0 and chosen:
            break
        chosen.append(place)
    return chosen


def _subtitle(loaded: Loaded, run: FinishedRun | None, args: Namespace) -> str:
    if args.text:
        count, words = len(args.text), "texts given" if len(args.text) > 1 else "text given"
        told = f"{count} {words}"
    else:
        assert run is not None
        rows = loaded.meaning.questions.ids if isinstance(loaded.meaning, Spans) else loaded.features
        told = f"the first {len(rows)} rows of {run.config.task.name}, {args.split}"
    return f"{told}, in {len(loaded.features)} windows" if isinstance(loaded.meaning, Spans) else told


def _settings(config: Any) -> str:
    if not isinstance(config, ChangedConfig) or not config.changed_layers:
        return "no change: attention alone"
    change, settings = config.find_change()
    values = {key: value.value if isinstance(value, Enum) else value for key, value in asdict(settings).items()}
    group = change.name if change.name == GI else "change"
    return "  ".join([f"change={change.name}", *(f"{group}.{key}={shown(value)}" for key, value in values.items())])


def _notes(loaded: Loaded, is_ablated: bool) -> list[str]:
    sizes = sorted({len(batch) for batch in loaded.batches}, reverse=True)
    said = f"batches of {' and '.join(map(str, sizes))} examples"
    if loaded.of_run:
        said += ", made as those that the run evaluates in"
    notes = [f"Computed in float32, in {said}; padding is left out."]
    if isinstance(loaded.meaning, Spans):
        notes.append("Examples are windows: shown is what is said of each alone, scores are of whole questions.")
    if is_ablated and loaded.meaning.labels() is not None:
        notes.append("Scores are of these examples alone, and of few examples a score moves in large steps.")
    return notes
