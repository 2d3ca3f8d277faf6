"""The comparisons in words: a row each, the rules, and what so few seeds cannot say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from gifine.report import settings
from gifine.report.analysis import statistics
from gifine.report.analysis.comparison import Basis, Comparison, Effect, Verdict
from gifine.report.analysis.families import FEWEST_PAIRS, Rules
from gifine.report.analysis.pairing import Pair
from gifine.report.contents import Contents
from gifine.report.formats.words import Item, Piece, Sheet, counts, linked, p_value, plain
from gifine.report.reading import Run
from gifine.runs.records import Status

_NAMED = 4  # comparisons in the answer
_REASONS = 8  # in the notes


def sheet(contents: Contents) -> Sheet:
    shown, rules = contents.comparisons, contents.rules
    extra = list(shown[0].extra) if shown else []
    heads = ["model", *extra, "gate", "task", "n", "difference", "95 % interval", "verdict"]
    heads += ["p", "p Holm", "p margin", "detectable", "random"]
    rows = []
    for each in shown:
        start = [each.model, *map(settings.shown, each.extra.values()), settings.gate(each.gate)]
        task = f"{each.task.title} ({each.task.described(each.measure)})"
        numbers = [linked(item, _runs(each.pairs)) for item in _numbers(each.effect)]
        rows.append([*map(plain, start), plain(task), *numbers[:3], _verdict(each, rules), *numbers[3:]])
        if each.regular is not None:
            start[-1] += ", without degenerate"
            kept = [pair for pair in each.pairs if Status.DEGENERATE not in (pair.baseline.status, pair.gated.status)]
            numbers = [linked(item, _runs(kept)) for item in _numbers(each.regular)]
            rows.append(
                [*map(plain, start), plain(task), *numbers[:3], plain("no verdict: survivors alone"), *numbers[3:]]
            )
    return Sheet("comparison", "Gated runs against their baseline", heads, rows, _notes(contents))


def answer(contents: Contents) -> str:
    """Whether the gates help, in a sentence: what `families.judge` found, and no more."""
    judged = [each for each in contents.comparisons if each.is_primary]
    if not judged:
        return "Nobody can say: no gated run has a baseline that differs from it in the gate alone."
    if all(each.effect.summary.n < FEWEST_PAIRS for each in judged):
        return f"Nobody can say yet: no comparison has the {FEWEST_PAIRS} pairs of runs that a verdict needs."
    found = {verdict: [each for each in judged if each.effect.verdict is verdict] for verdict in Verdict}
    whole = f"{len(judged)} comparison{'s' * (len(judged) != 1)} of gated runs with their baseline"
    if len(found[Verdict.UNDECIDED]) == len(judged):
        return f"Undecided: none of {whole} shows a difference. That is not to say that there is none."
    several_models = len({each.model for each in judged}) > 1
    words = []
    for verdict in (Verdict.HELPS, Verdict.HURTS):
        those = found[verdict]
        names = [_named(each, with_model=several_models) for each in those[:_NAMED]]
        names += [f"{len(those) - _NAMED} more"] if len(those) > _NAMED else []
        words.append(f"it {verdict} in {len(those)}" + (f" ({'; '.join(names)})" if names else ""))
    words.append(f"makes no difference above {margin(contents.rules)} points in {len(found[Verdict.SAME])}")
    return f"Of {whole}, {', '.join(words)} and {len(found[Verdict.UNDECIDED])} are undecided."


def margin(rules: Rules) -> str:
    """In points of percent."""
    return f"{100 * rules.margin:.6g}"


def conclusion(effect: Effect, rules: Rules) -> str:
    """The verdict in words; empty where there can be none."""
    if effect.verdict is Verdict.SAME:
        return f"no difference above {margin(rules)}"
    words = str(effect.verdict or "")
    if effect.why is not None:
        words += f": {effect.why}"
    if effect.verdict in (Verdict.HELPS, Verdict.HURTS) and (effect.p_equivalent_holm or 1) < statistics.ALPHA:
        words += f", by less than {margin(rules)}"
    return words


def _runs(pairs: Sequence[Pair]) -> list[Run]:
    return [run for pair in pairs for run in (pair.baseline, pair.gated)]


def _named(comparison: Comparison, *, with_model: bool) -> str:
    model = f"{comparison.model}, " if with_model else ""
    return f"{model}{comparison.task.title} with {settings.gate(comparison.gate)}"


def _numbers(effect: Effect) -> list[Item]:
    interval, mean, detectable = effect.interval, effect.summary.mean, effect.detectable_interval
    is_judged = effect.verdict is not None  # p of what is not judged would be read as a verdict
    words = [
        str(effect.summary.n),
        f"{100 * mean:+.2f}" if mean is not None else "–",
        f"{100 * interval[0]:+.2f} … {100 * interval[1]:+.2f}" if interval is not None else "",
        p_value(effect.p) if is_judged else "",
        p_value(effect.p_holm),
        p_value(effect.p_equivalent_holm),
        f"{100 * effect.detectable:.2f} ({100 * detectable[0]:.2f} – {100 * detectable[1]:.2f})"
        if effect.detectable is not None and detectable is not None
        else "",
        "" if effect.p is None else "runs, examples" if effect.basis is Basis.CROSSED else "runs",
    ]
    return [plain(word) for word in words]


def _verdict(comparison: Comparison, rules: Rules) -> Item:
    words = conclusion(comparison.effect, rules) if comparison.is_primary else "descriptive"
    if (rules.primary or rules.plan is not None) and comparison.is_primary:
        words += (" (primary)" if rules.primary else " (planned)") if comparison.is_declared else " (exploratory)"
    for side, failures in comparison.failures.items():
        if failures:
            words += f"; {side}: {counts(failures)}"
    words += "".join(f"; {caution}" for caution in comparison.cautions)
    decided = comparison.effect.verdict in (Verdict.HELPS, Verdict.HURTS)
    return (Piece(words, decided),)


def _notes(contents: Contents) -> list[str]:
    shown, rules = contents.comparisons, contents.rules
    if not shown:
        return ["No gated run has a baseline that differs from it in the gate alone."] if contents.unpaired else []
    sizes = {each.model: each.family for each in shown if each.is_primary and not each.is_declared}
    families = "; ".join(f"{model}: {size}" for model, size in sizes.items() if size)
    of = f" ({families})" if families else ""
    notes = [
        "Differences in points of percent, gated minus baseline, of n pairs that share all but the gate. Random: what "
        "else might have been drawn, and so what the interval and p are about: runs (seeds) and dev examples, or runs "
        "alone, given this dev set. p Holm: of no difference, corrected over all comparisons of a model's main "
        f"metrics{of}; helps and hurts need p Holm < {statistics.ALPHA} and {FEWEST_PAIRS} pairs. p margin: of a "
        f"difference of {margin(rules)} points or more, corrected in the same way; below {statistics.ALPHA} there is "
        'no difference above that. Undecided is neither, and not "no effect". Detectable: the difference that 80 % of '
        "such sweeps would find at Holm's first step, and how far few seeds leave that open (95 %). Other metrics and "
        "rows of survivors are descriptive and have no verdict."
    ]
    if rules.plan is not None:
        which = "primary" if rules.primary else "planned"
        notes.append(
            f"The {which} comparisons are those of the plan {rules.plan}, and are corrected among themselves, run or "
            "not; all others are exploratory, and corrected over all."
        )
    elif rules.primary:
        notes.append(
            "The primary comparisons were named on the command line, and are corrected among themselves; all others "
            "are exploratory, and corrected over all. Nobody can see here whether they were named before the runs."
        )
    reasons = Counter(each.effect.reason for each in shown if each.effect.reason is not None)
    for reason, count in reasons.most_common(_REASONS):
        notes.append(
            f"{count} comparison{'s are' if count > 1 else ' is'} of runs alone, given this dev set: {reason}."
        )
    if len(reasons) > _REASONS:
        notes.append(f"And {len(reasons) - _REASONS} more reasons, which --format json has.")
    return notes
