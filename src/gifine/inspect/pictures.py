"""The pictures of an inspection as figures of matplotlib, in the report's style."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from gifine.inspect.findings import QUANTILES, Findings, Track
from gifine.report.plots import drawing
from gifine.report.plots.drawing import Plot

_SAMPLES = 6  # layers with a line of their own over training; more nobody can tell apart


def make(found: Findings, maps: Sequence[dict]) -> Iterator[Plot]:
    """A heat map of layers × heads for each of `maps`, as `page.maps` gives them; then distributions and training."""
    with drawing.style():
        for each in maps:
            yield _heat(each)
        for track in found.tracks:
            yield _distribution(track)
        yield from _training(found)


def _heat(each: dict) -> Plot:
    values_LH = np.asarray([[np.nan if value is None else value for value in row] for row in each["values"]])
    layers, heads = values_LH.shape
    figure, axes = drawing.grid(1, 1, (max(3.0, 0.28 * heads + 1.2), max(1.6, 0.2 * layers + 0.6)))
    axis = axes[0][0]
    mesh = axis.pcolormesh(values_LH, cmap="cividis", edgecolors="face")
    bar = figure.colorbar(mesh, ax=axis)
    bar.ax.grid(visible=False)
    assert bar.solids is not None
    bar.solids.set(rasterized=False, edgecolor="face")
    axis.grid(visible=False)
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
