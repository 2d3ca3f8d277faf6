"""The page of an inspection: one HTML file that needs nothing else. Numbers are bytes, drawn when they are looked at.

Shapes: L layers, H heads, N tokens of all examples one after the other.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gifine.inspect.findings import Ablations, Findings, Track
from gifine.report.formats import page
from gifine.report.formats.page import Picture, Shared

_CAPTIONS = {
    "evenness": "how evenly a token looks: entropy of its attention weights by the logarithm of the number of tokens; "
    "0: at one token, 1: at all alike",
}
_FEW = 12  # rows of the list of tokens that set maxima


def maps(found: Findings) -> list[dict[str, Any]]:
    """Layers × heads for each thing to look at: what the page lets choose, and the pictures draw."""
    made: list[dict[str, Any]] = []
    for place, track in enumerate(found.tracks):
        what = "the gate" if track.kind == "gate" else "how far values move, ‖changed − value‖/‖value‖"
        statistics = [
            ("mean", f"the mean of {what} over tokens", np.nanmean(track.values_LHN, axis=-1)),
            ("spread", f"the standard deviation of {what} over tokens", np.nanstd(track.values_LHN, axis=-1)),
            ("largest", f"the largest of {what} over tokens", np.nanmax(track.values_LHN, axis=-1)),
        ]
        statistics += [
            (f"share {name}", f"the share of gates, feature by feature, that are {name}", values)
            for name, values in track.shares.items()
        ]
        made += [_map(f"{track.name}: {name}", words, track.layers, each, place) for name, words, each in statistics]
    if found.ablations is not None:
        made += _ablated(found, found.ablations)
    layers = list(range(found.depth))
    for name, values in found.attention.summary.items():
        words = _CAPTIONS.get(name, f"the attention weight {name}, the mean over tokens that ask")
        made.append(_map(f"attention: {name}", words, layers, values, None))
    return made


def _map(name: str, caption: str, layers: Sequence[int], values_LH: np.ndarray, track: int | None) -> dict[str, Any]:
    rows = [[None if np.isnan(value) else float(f"{value:.4g}") for value in row] for row in values_LH]
    return {"name": name, "caption": caption, "layers": list(layers), "values": rows, "track": track}


def _ablated(found: Findings, ablations: Ablations) -> Iterator[dict[str, Any]]:
    layers = sorted({each.layer for each in ablations.found if each.layer is not None})
    heads = [each for each in ablations.found if each.head is not None]
    if not heads:
        return
    has_score = ablations.base.loss is not None
    for name, words in (
        [("loss", "by how much the mean loss grows if the change is off in a head")] if has_score else []
    ) + [("logits", "by how much a logit moves at most if the change is off in a head")]:
        values_LH = np.full((len(layers), found.heads), np.nan)
        for each in heads:
            assert each.layer is not None
            cost = _grown(each.score.loss, ablations.base.loss) if name == "loss" else each.logit
            values_LH[layers.index(each.layer), each.head] = np.nan if cost is None else cost
        yield _map(f"switched off: {name}", words, layers, values_LH, None)


def make(found: Findings, maps: Sequence[dict[str, Any]], pictures: Sequence[Picture]) -> Iterator[str]:
    """The page, piece by piece. Tokens and names are escaped; the figures are parsed and set anew."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    styles = Shared()
    figures = [(each, Markup(page.inline(each.svg, f"f{place}-", styles))) for place, each in enumerate(pictures)]  # noqa: S704 - elements of a drawing only
    here = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader([here, Path(page.__file__).parent]),  # the report's style is ours
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False}
    stream = environment.get_template("inspect.html.j2").stream(
        found=found,
        figures=figures,
        styles=Markup("".join(f".s{place} {{{style}}}\n" for style, place in styles.places.items())),  # noqa: S704 - as the report's
        peaks=list(_peaks(found)),
        told=list(_told(found)),
        ablations=list(_ablations(found.ablations)) if found.ablations else [],
        data={
            "heads": found.heads,
            "maps": list(maps),
            "tracks": [_track(found, track) for track in found.tracks],
            "examples": [_example(found, place) for place in found.shown],
            "attention": {str(found.shown.index(place)): _attention(each) for place, each in _maps(found)},
        },
    )
    stream.enable_buffering(100)
    yield from stream


def _maps(found: Findings) -> Iterator[tuple[int, np.ndarray]]:
    return ((place, each) for place, each in found.attention.maps.items() if place in found.shown)


def _track(found: Findings, track: Track) -> dict[str, Any]:
    """Values of the tokens that the page has, as bytes: 0 is none, 1 to 255 from `low` to `high`."""
    columns = np.concatenate(
        [np.arange(each.first, each.first + len(each.tokens)) for each in (found.examples[n] for n in found.shown)]
    )
    values_LHN = track.values_LHN[:, :, columns]
    low, high = float(np.nanmin(values_LHN)), float(np.nanmax(values_LHN))
    scaled = (values_LHN - low) / (high - low or 1.0)
    coded = np.where(np.isnan(scaled), 0, 1 + np.round(254 * np.nan_to_num(scaled))).astype(np.uint8)
    return {
        "name": track.name,
        "layers": track.layers,
        "heads": values_LHN.shape[1],
        "low": low,
        "high": high,
        "bytes": [_bytes(each) for each in coded],
    }


def _example(found: Findings, place: int) -> dict[str, Any]:
    example = found.examples[place]
    said = [example.name]
    said += [f"label {example.label}"] if example.label is not None else []
    return {"tokens": example.tokens, "said": ", ".join([*said, f"predicted {example.predicted}"])}


def _attention(maps_LHTT: np.ndarray) -> list[str]:
    return [_bytes(each) for each in maps_LHTT]


def _bytes(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def _peaks(found: Findings) -> Iterator[tuple[str, ...]]:
    """By token, how often it sets a maximum, in how many layers, of how many examples, and what the largest one is."""
    tokens = [
        "(padding)" if peak.token is None else found.examples[peak.example].tokens[peak.token] for peak in found.peaks
    ]
    for token, count in Counter(tokens).most_common(_FEW):
        its = [peak for peak, name in zip(found.peaks, tokens, strict=True) if name == token]
        layers, examples = len({peak.layer for peak in its}), len({peak.example for peak in its})
        top = max(its, key=lambda peak: peak.maximum)
        where = f"layer {top.layer}, {top.site}, head {top.head}, {found.examples[top.example].name}"
        yield token, f"{count} of {len(tokens)}", str(layers), str(examples), f"{top.maximum:.3g}", where


def _told(found: Findings) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """What a change tells of itself, layer by layer."""
    for track in found.tracks:
        names = list(dict.fromkeys(name for each in track.told for name in each))
        rows = [
            [str(layer), *(f"{each[name]:.4g}" if name in each else "–" for name in names)]
            for layer, each in zip(track.layers, track.told, strict=False)
        ]
        if names:
            yield track.name, ["layer", *(name.replace("_", " ") for name in names)], rows


def _ablations(ablations: Ablations) -> Iterator[list[str]]:
    base = ablations.base
    for each in ablations.found:
        if each.layer is None:
            part = "all layers"
        else:
            part = f"layer {each.layer}" + ("" if each.head is None else f", head {each.head}")
        cost = [part]
        if base.loss is not None:
            value = _grown(each.score.value, base.value)
            cost.append("–" if value is None else f"{100 * value:+.2f}")
            loss = _grown(each.score.loss, base.loss)
            cost.append("–" if loss is None else f"{loss:+.4f}")
        yield [*cost, str(each.flipped), f"{each.logit:.3g}"]


def _grown(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else now - before
