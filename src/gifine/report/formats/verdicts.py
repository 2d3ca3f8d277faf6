"""The comparisons in words: a row each, the rules, and what so few seeds cannot say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from gifine.commands import counted
from gifine.report import settings
from gifine.report.analysis import pairing, statistics
from gifine.report.analysis.attrition import around
from gifine.report.analysis.comparison import Basis, Choice, Comparison, Effect, Verdict
from gifine.report.analysis.families import FEWEST_PAIRS, Rules
from gifine.report.contents import Contents
from gifine.report.formats import phrases
from gifine.report.formats.words import Item, Piece, Sheet, counts, ends, linked, minus, p_value, plain, signed
from gifine.runs.records import Status

_SIDES = {"baseline": "baseline", "gated": "changed"}
_REASONS = 8  # in the notes


def sheet(contents: Contents) -> Sheet:
    shown, rules = contents.comparisons, contents.rules
    extra = list(shown[0].extra) if shown else []
    heads = ["model", *extra, "change", "task", "n", "difference", "95 % interval", "verdict"]
    heads += ["p", "p Holm", "p margin", "detectable", "random", "last epoch"]
    rows = []
    for each in shown:
        start = [each.model, *map(settings.shown, each.extra.values()), settings.gate(each.gate)]
        task = f"{each.task.title} ({each.task.described(each.measure)})"
        numbers = [linked(item, pairing.members(each.pairs)) for item in _numbers(each.effect)]
        last = plain(_last(each))
        rows.append([*map(plain, start), plain(task), *numbers[:3], _verdict(each, rules), *numbers[3:], last])
        if each.regular is not None:
            start[-1] += ", without degenerate"
            kept = [pair for pair in each.pairs if Status.DEGENERATE not in (pair.baseline.status, pair.gated.status)]
            numbers = [linked(item, pairing.members(kept)) for item in _numbers(each.regular)]
            none, last = plain("no verdict: survivors alone"), plain("")
            rows.append([*map(plain, start), plain(task), *numbers[:3], none, *numbers[3:], last])
    return Sheet("comparison", f"Changed runs against {baseline(contents)}", heads, rows, _notes(contents))


def baseline(contents: Contents) -> str:
    """What the other side is called in titles."""
    return "their baseline" if contents.against is None else f"{settings.gate(contents.against)}, their baseline"


def margin(rules: Rules) -> str:
    """In points of percent."""
    return f"{100 * rules.margin:.6g}"


def conclusion(effect: Effect, rules: Rules) -> str:
    """The verdict in words; empty where there can be none."""
    if effect.verdict is Verdict.SAME:
        return f"no difference above {margin(rules)}"
    words = str(effect.verdict or "")
    if effect.why is not None:
        words += f": {minus(effect.why)}"
    if effect.verdict in (Verdict.HELPS, Verdict.HURTS) and (effect.p_equivalent_holm or 1) < statistics.ALPHA:
        words += f", by less than {margin(rules)}"
    return words


def _numbers(effect: Effect) -> list[Item]:
    interval, mean, detectable = effect.interval, effect.summary.mean, effect.detectable_interval
    is_judged = effect.verdict is not None  # p of what is not judged would be read as a verdict
    words = [
        str(effect.summary.n),
        signed(mean) if mean is not None else "–",
        ends(interval),
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
            words += f"; {_SIDES[side]}: {counts(failures)}"
    if comparison.worst is not None and comparison.doubt is None:
        words += f"; worst case {ends(around(comparison.worst))}"
    words += "".join(f"; {caution}" for caution in comparison.cautions)
    decided = comparison.effect.verdict in (Verdict.HELPS, Verdict.HURTS)
    return (Piece(words, decided),)


def _last(comparison: Comparison) -> str:
    choice = comparison.choice
    if choice is None or choice.last_mean is None:
        return ""
    few = f" ({choice.pairs})" if choice.pairs < len(comparison.pairs) else ""
    return f"{signed(choice.last_mean)}{few}"


def _notes(contents: Contents) -> list[str]:
    shown, rules = contents.comparisons, contents.rules
    if not shown:
        return ["No changed run has a baseline that differs from it in the change alone."] if contents.unpaired else []
    sizes = {each.model: each.family for each in shown if each.is_primary and not each.is_declared}
    families = "; ".join(f"{model}: {size}" for model, size in sizes.items() if size)
    of = f" ({families})" if families else ""
    notes = [
        "Differences in points of percent, changed minus baseline, of n pairs that share all but the change. Random: "
        "what else might have been drawn, and so what the interval and p are about: runs (seeds) and dev examples, or "
        "runs alone, given this dev set. p Holm: of no difference, corrected over all comparisons of a model's main "
        f"metrics{of}; helps and hurts need p Holm < {statistics.ALPHA} and {FEWEST_PAIRS} pairs. p margin: of a "
        f"difference of {phrases.plain_points(rules.margin)} or more, corrected in the same way; below "
        f'{statistics.ALPHA} there is no difference above that. Undecided is neither, and not "no effect". Detectable: '
        "the difference that 80 % of "
        "such sweeps would find at Holm's first step, and how far few seeds leave that open (95 %). Other metrics and "
        "rows of survivors are descriptive and have no verdict."
    ]
    notes += _choices(shown)
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
            f"{counted(count, 'comparison')} {'is' if count == 1 else 'are'} of runs alone, given this dev set: "
            f"{reason}."
        )
    if len(reasons) > _REASONS:
        notes.append(f"And {counted(len(reasons) - _REASONS, 'more reason')}, which --format json has.")
    return notes


def _choices(shown: Sequence[Comparison]) -> list[str]:
    """Of which epoch the scores are."""
    judged = [each for each in shown if each.is_primary]
    chosen = [each.choice for each in judged if each.choice is not None]
    if not chosen:
        return ["Scores are of the last epoch (train.select_best=false, or one evaluation alone)."]
    some = "Scores are" if len(chosen) == len(judged) else f"The scores of {counted(len(chosen), 'comparison')} are"
    halves = sum(each.on_other_half for each in chosen)
    if halves == len(chosen):
        return [
            f"{some} of the best epoch, which was chosen on the other half of dev (evaluate.split_dev): they are not "
            "too high by the choice, and of half as many examples. Last epoch: the mean difference at the last "
            "evaluation."
        ]
    where = "on the dev set that is reported" + (f" ({halves} on its other half)" if halves else "")
    return [
        f"{some} of the best epoch, chosen {where}. That is too high, more so of many evaluations and of a small dev "
        "set. Last epoch: the mean difference at the last evaluation, which nobody chose. evaluate.split_dev=true "
        "chooses on one half of dev and reports the other; train.select_best=false chooses nothing."
    ]


def last_epoch(choice: Choice | None) -> dict[str, Any]:
    """Nulls where no run chose its best evaluation."""
    if choice is None:
        return dict.fromkeys(("last_epoch", "last_epoch_pairs", "evaluations"))
    baseline, gated = choice.evaluations
    return {
        "last_epoch": choice.last_mean,
        "last_epoch_pairs": choice.pairs,
        "evaluations": {"baseline": baseline, "gated": gated},
    }
