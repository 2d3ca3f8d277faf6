"""The pictures of an inspection as figures of matplotlib, in the report's style."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from gifine.inspect.findings import QUANTILES, Example, Findings, Track
from gifine.report.plots import drawing
from gifine.report.plots.drawing import Plot

_SAMPLES = 6  # layers with a line of their own over training; more nobody can tell apart
_ROOM = 8.0  # inches, for all layers and heads


def on_page(found: Findings) -> Iterator[Plot]:
    """Distributions and training."""
    with drawing.style():
        for track in found.tracks:
            yield _distribution(track)
        yield from _training(found)


def beside_page(found: Findings, maps: Sequence[dict]) -> Iterator[Plot]:
    """What the page draws itself, for one thing at a time: layers × heads of each of `maps`, as `page.maps` gives them;
    of each example that it shows the tokens at each site, and attention."""
    with drawing.style():
        for each in maps:
            yield _heat(each)
        for place in found.shown:
            example = found.examples[place]
            for track in found.tracks:
                yield _tokens(example.name, example, track)
            if place in found.attention.maps:
                yield _weights(example.name, example, found.attention.maps[place])


def _heat(each: dict) -> Plot:
    values_LH = np.asarray([[np.nan if value is None else value for value in row] for row in each["values"]])
    layers, heads = values_LH.shape
    figure, axes = drawing.grid(1, 1, (max(3.0, 0.28 * heads + 1.2), max(1.6, 0.2 * layers + 0.6)))
    axis = axes[0][0]
    mesh = axis.pcolormesh(values_LH, cmap="cividis", edgecolors="face")
    _add_scale(axis, mesh)
    axis.invert_yaxis()
    axis.set_yticks(np.arange(layers) + 0.5, [str(layer) for layer in each["layers"]], fontsize=7)
    axis.set_xticks(np.arange(heads) + 0.5, [str(head) for head in range(heads)] if heads > 1 else ["all"], fontsize=7)
    axis.set(xlabel="head", ylabel="layer, from 0")
    return drawing.finished(figure, ["heat", each["name"]], each["name"], each["caption"])


def _distribution(track: Track) -> Plot:
    figure, axes = drawing.grid(1, 1, (max(3.5, 0.2 * len(track.layers) + 1.5), 2.2))
    axis, layers = axes[0][0], np.asarray(track.layers)
    low, near, middle, far, high = track.quantiles_LQ.T
    axis.fill_between(layers, low, high, color=drawing.BLUE, alpha=0.15, linewidth=0)
    axis.fill_between(layers, near, far, color=drawing.BLUE, alpha=0.3, linewidth=0)
    axis.plot(layers, middle, **drawing.look(0))
    if track.kind == "gate":
        axis.axhline(1, color="black", linewidth=0.8)
    axis.set_xticks(layers[:: max(1, len(layers) // 12)])
    axis.set(xlabel="layer, from 0", ylabel=track.kind)
    inner = f"{100 * QUANTILES[1]:g} to {100 * QUANTILES[3]:g} %"
    what = "gates of single features" if track.kind == "gate" else "tokens and heads"
    caption = (
        f"{track.name}, by layer: the median, and where {inner} and {100 * QUANTILES[0]:g} to "
        f"{100 * QUANTILES[4]:g} % of {what} lie."
    )
    return drawing.finished(figure, ["distribution", track.name], f"{track.name}, by layer", caption)


def _training(found: Findings) -> Iterator[Plot]:
    by_name: defaultdict[tuple[str, str], dict[int, dict[int, float]]] = defaultdict(dict)
    for key, points in found.training.items():
        _, layer, site, name = key.split("/")
        by_name[site, name][int(layer)] = points
    for (site, name), layers in sorted(by_name.items()):
        figure, axes = drawing.grid(1, 1, (4.2, 2.2))
        ordered = sorted(layers)
        places = np.unique(np.linspace(0, len(ordered) - 1, min(_SAMPLES, len(ordered))).round().astype(int))
        for place, layer in enumerate(ordered[each] for each in places):
            points = layers[layer]
            axes[0][0].plot(list(points), list(points.values()), label=f"layer {layer}", **drawing.look(place))
        axes[0][0].set(xlabel="step", ylabel=name.replace("_", " "))
        axes[0][0].legend(loc="upper left", bbox_to_anchor=(1.01, 1))
        words = f"{name.replace('_', ' ')} at {site}, over training"
        yield drawing.finished(figure, ["training", site, name], words, f"{words}: a batch of each step, padding too.")


def _tokens(name: str, example: Example, track: Track) -> Plot:
    """All layers and heads of a track over the tokens of an example: what the page shows of one head."""
    layers, heads, _ = track.values_LHN.shape
    size = len(example.tokens)
    values_RT = track.values_LHN[:, :, example.first : example.first + size].reshape(layers * heads, size)
    high = max(1.5, min(_ROOM, 0.1 * len(values_RT)))
    figure, axes = drawing.grid(1, 1, (max(3.0, 0.13 * size + 1.2), high))
    axis = axes[0][0]
    _add_scale(axis, axis.imshow(values_RT, cmap="cividis", aspect="auto", interpolation="none"))
    axis.set_yticks(np.arange(layers) * heads + (heads - 1) / 2, [str(layer) for layer in track.layers], fontsize=7)
    for place in range(1, layers):
        axis.axhline(place * heads - 0.5, color="white", linewidth=0.6)
    axis.set_xticks(range(size), [drawing.shortened(token, 20) for token in example.tokens], rotation=90, fontsize=6)
    axis.set(ylabel="layer, from 0" + (", with its heads" if heads > 1 else ""))
    each = "a row for each head" if heads > 1 else "of all heads together"
    caption = f"{name}, {track.name}: each token in each layer, {each}. White: not computed."
    return drawing.finished(figure, [name, track.name], f"{track.name}, {name}", caption)


def _weights(name: str, example: Example, maps_LHTT: np.ndarray) -> Plot:
    """The attention weights of an example, a square for each layer and head."""
    layers, heads, size, _ = maps_LHTT.shape
    gap = max(1, size // 12)
    squares_LHSS = np.pad(maps_LHTT / 255.0, [(0, 0), (0, 0), (0, gap), (0, gap)], constant_values=np.nan)
    step = size + gap
    whole = squares_LHSS.transpose(0, 2, 1, 3).reshape(layers * step, heads * step)[:-gap, :-gap]
    side = min(0.8, _ROOM / max(layers, heads))
    figure, axes = drawing.grid(1, 1, (max(3.0, side * heads + 1.0), max(1.5, side * layers)))
    axis = axes[0][0]
    _add_scale(axis, axis.imshow(whole, cmap="cividis", norm=PowerNorm(0.5, 0, 1), interpolation="none"))
    for add_ticks, count in ((axis.set_yticks, layers), (axis.set_xticks, heads)):
        add_ticks(np.arange(count) * step + (size - 1) / 2, [str(each) for each in range(count)], fontsize=7)
    axis.set(xlabel="head", ylabel="layer, from 0")
    caption = (
        f"{name}: attention weights, a square for each layer and head, with the tokens in their order. Rows ask and "
        f"columns are looked at; colours go with the square root. Tokens: {' '.join(example.tokens)}"
    )
    return drawing.finished(figure, [name, "attention"], f"attention, {name}", caption)


def _add_scale(axis: Axes, mapped: ScalarMappable) -> None:
    figure = axis.figure
    assert isinstance(figure, Figure)
    figure.colorbar(mapped, ax=axis).ax.grid(visible=False)
    axis.grid(visible=False)
