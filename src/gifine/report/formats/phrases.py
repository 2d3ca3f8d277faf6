"""What sentences that people quote are made of: numbers in words, changes, seeds and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gifine.commands import counted
from gifine.report import settings
from gifine.report.analysis import pairing
from gifine.report.analysis.comparison import Comparison, Effect, Verdict
from gifine.report.formats.words import ends, minus, signed
from gifine.report.settings import Settings, Value
from gifine.runs.replicate import STREAMS

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_TRAINED = {  # by train.parameters, of the plain model and of a changed one
    None: ("", ""),
    "change": (" with its head trained alone", " trained alone"),
    "bias": (" with its biases trained alone", " trained with the biases alone"),
}
_SIDES = {"both": "both sides", "key": "the key side", "query": "the query side"}


def change(gate: Settings) -> str:
    """`GI on both sides at level 0.3 in the last six layers`, `lora with rank=8`, and what trains if not all does."""
    parameters = gate.get("train.parameters")
    plain, changed = _TRAINED[None if parameters is None else str(parameters)]
    is_plain = settings.other_change(gate) is None and not settings.has_gates(gate)
    return (f"the plain model{plain}" if is_plain else _changed(gate) + changed) + _after(gate)


def _after(gate: Settings) -> str:
    """What the run before had, if it was another change."""
    first = gate.get("gi.first" if settings.other_change(gate) is None else "change.first")
    if first is None:
        return ""
    return " after a run without a change" if first == settings.PLAIN else f" after a run with {first}"


def _changed(gate: Settings) -> str:
    name = settings.other_change(gate)
    layers = gate.get("gi.layers" if name is None else "change.layers")
    words = name or f"GI on {_SIDES.get(str(gate.get('gi.side')), settings.shown(gate.get('gi.side')))}"
    words += f" at level {settings.shown(gate.get('gi.level'))}" if gate.get("gi.level") is not None else ""
    if isinstance(layers, int):
        words += f" in the last {count(layers, 'layer')}" if layers > 1 else " in the last layer"
    others = [word for word in settings.unusual(gate) if not word.startswith("first=")]
    return words + (f" with {joined(others)}" if others else "")


def beside(keys: Mapping[str, Value]) -> str:
    """What else tells it apart, ` with train.epochs=3`; empty where nothing does."""
    words = [f"{key}={settings.shown(value)}" for key, value in keys.items()]
    return f" with {joined(words)}" if words else ""


def seeds(comparisons: Sequence[Comparison]) -> str:
    """`five seeds`; and where streams of random numbers were drawn once alone, which: of these nothing is known."""
    sizes = [each.effect.summary.n for each in comparisons]
    low, high = min(sizes), max(sizes)
    words = count(low, "seed")
    if low < high:
        words = f"up to {count(high, 'seed')}" if not low else f"{number(low)} to {count(high, 'seed')}"
    kinds: dict[tuple[str, ...], list[Comparison]] = {}
    for each in comparisons:
        kinds.setdefault(tuple(pairing.fixed(each.tried)), []).append(each)
    told = [
        f"{f'on {titles(those)} ' if len(kinds) > 1 else ''}one seed of {joined(fixed)}"
        for fixed, those in kinds.items()
        if fixed
    ]
    varied = [name for name in STREAMS if len(kinds) == 1 and name not in next(iter(kinds))]
    of = f" of {joined(varied)}" if told and 0 < len(varied) < len(STREAMS) else ""
    return words + of + (f" ({'; '.join(told)})" if told else "")


def difference(effect: Effect) -> str:
    """` by +0.12 points (95 % interval −0.21 … +0.45)`; empty where there is none."""
    if effect.summary.mean is None:
        return ""
    interval = f"95 % interval {ends(effect.interval)}" if effect.interval else "no interval: no error can be told"
    return f" by {points(effect.summary.mean)} ({interval})"


def lost(comparisons: Sequence[Comparison], effect: Effect) -> str:
    """How many of their pairs have no difference, unless the verdict says so."""
    tried = sum(len(each.tried) for each in comparisons)
    gone = tried - sum(len(each.pairs) for each in comparisons)
    is_said = " lost; in the worst case" in (effect.why or "")
    return f", with {gone} of {counted(tried, 'pair')} lost" if gone and not is_said else ""


def conclusion(effect: Effect, margin: float) -> str:
    """The verdict, and why there can be none."""
    if effect.verdict is Verdict.SAME:
        return f"no difference above {plain_points(margin)}"
    if effect.verdict is not Verdict.UNDECIDED:
        return f"it {effect.verdict}"
    if effect.why is None:
        is_clear_alone = effect.interval is not None and (effect.interval[0] > 0 or effect.interval[1] < 0)
        corrected = " after the correction for all that was tried" if is_clear_alone else ""
        return f"undecided{corrected}, which does not mean that there is no difference"
    why = minus(effect.why)
    return f"undecided, since {'a verdict ' if why.startswith('needs ') else ''}{why}"


def count(whole: int, thing: str) -> str:
    """`five seeds`."""
    return f"{number(whole)} {thing}{'s' * (whole != 1)}"


def number(whole: int) -> str:
    return _NUMBERS[whole] if whole < len(_NUMBERS) else f"{whole:,}"


def verb(whole: int, one: str, several: str) -> str:
    """The form that goes with so many."""
    return one if whole == 1 else several


def joined(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def titles(comparisons: Sequence[Comparison]) -> str:
    return joined([each.task.title for each in comparisons])


def points(fraction: float) -> str:
    return f"{signed(fraction)} points"


def plain_points(fraction: float) -> str:
    found = f"{100 * fraction:.6g}"
    return f"{found} point{'s' * (found != '1')}"
