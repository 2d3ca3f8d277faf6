"""What the best of k trials is expected to score, against k: two arms that were tuned equally."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from gifine.report import settings
from gifine.report.analysis.best_of import Curve
from gifine.report.analysis.tuning import Tuning
from gifine.report.plots import drawing
from gifine.report.plots.drawing import Plot


def draw(tuning: Tuning) -> Plot:
    trials = len(tuning.trials)
    figure, [[above], [below]] = drawing.grid(2, 1, (4.2, 2.1))
    gate, measure = settings.gate(tuning.gate), tuning.task.described(tuning.task.primary)
    _draw(above, tuning.baseline, 0, "baseline")
    _draw(above, tuning.gated, 1, gate)
    above.set_ylabel(drawing.shortened(f"{measure} (%)"))
    above.legend(loc="lower right")
    _draw(below, tuning.difference, 2, "difference")
    below.axhline(0, color="black", linewidth=1)
    below.set(xlabel="k, trials of each arm", ylabel="difference (points)", xlim=(0.5, trials + 0.5))
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    words = [tuning.task.title, tuning.model, *(f"{key}={settings.shown(each)}" for key, each in tuning.extra.items())]
    title = ", ".join(words)
    caption = (
        f"{title}: expected {measure} of the best of k trials, of {trials} that both arms have tried, and {gate} minus "
        "the baseline. Bands are 95 % intervals over other draws of trials, for k up to half of them: beyond, so many "
        "do not tell how sure the best of k is."
    )
    return drawing.finished(
        figure, ["tuning", tuning.task.name, tuning.model, gate], f"Best of k trials, {title}", caption
    )


def _draw(axes: Axes, curve: Curve, place: int, label: str) -> None:
    k = range(1, len(curve.means) + 1)
    looks = drawing.look(place)
    axes.plot(k, [100 * mean for mean in curve.means], linewidth=1.2, label=label, **looks)
    known = [(at, interval) for at, interval in zip(k, curve.intervals, strict=True) if interval is not None]
    if known:
        low, high = ([100 * interval[end] for _, interval in known] for end in (0, 1))
        axes.fill_between([at for at, _ in known], low, high, color=looks["color"], alpha=0.18, linewidth=0)
