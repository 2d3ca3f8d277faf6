"""What the parts of a change are worth: it is switched off at a layer, or in one head, and the examples scored again.

GI's gates are 1 there; any other change hands its value on as it came.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from gifine.inspect import seen
from gifine.inspect.findings import Ablation, Ablations, Track
from gifine.inspect.loading import Loaded
from gifine.inspect.seen import HEADLESS, Seen


def run(loaded: Loaded, logits: np.ndarray, tracks: Sequence[Track], seconds: float) -> Ablations | None:
    """The whole change, then each layer, then heads, those that do most first, until the time is up. None without one.

    `logits` are those with all of the change, of the same batches.
    """
    parts = list(_parts(tracks))
    if not parts or seconds <= 0:
        return None
    start, base, found = time.monotonic(), loaded.meaning.score(logits), []
    for layer, head in parts:
        if found and time.monotonic() - start > seconds:
            break
        with seen.between(loaded.model, _off(layer, head)):
            without = loaded.logits()
        flipped, largest = loaded.meaning.flipped(logits, without), float(np.abs(without - logits).max())
        found.append(Ablation(layer, head, loaded.meaning.score(without), flipped, largest))
    return Ablations(base, found, len(parts) - len(found), time.monotonic() - start)


def _parts(tracks: Sequence[Track]) -> Iterator[tuple[int | None, int | None]]:
    layers = sorted({layer for track in tracks for layer in track.layers})
    if layers:
        yield None, None
    yield from ((layer, None) for layer in layers)
    done: dict[tuple[int, int], float] = {}
    for track in tracks:
        if track.site in HEADLESS:
            continue
        away_LH = np.nanmean(np.abs(track.values_LHN - (track.kind == "gate")), axis=-1)
        for place, layer in enumerate(track.layers):
            for head, away in enumerate(away_LH[place]):
                done[layer, head] = done.get((layer, head), 0.0) + float(away)
    yield from sorted(done, key=lambda part: (-done[part], part))


def _off(layer: int | None, head: int | None) -> seen.See:
    def see(each: Seen) -> Tensor:
        if layer not in (None, each.place.layer):
            return each.changed
        if head is None:
            return each.value
        if each.place.site in HEADLESS:
            return each.changed
        changed = each.changed.clone()
        if each.place.site == "weights":
            changed[:, head] = each.value[:, head]
        else:
            heads = (each.place.heads, -1)
            changed.unflatten(-1, heads)[..., head, :] = each.value.unflatten(-1, heads)[..., head, :]
        return changed

    return see
