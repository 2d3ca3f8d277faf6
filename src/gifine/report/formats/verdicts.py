"""The comparisons in words: a row each, the rules, and what so few seeds cannot say."""

from __future__ import annotations

from collections.abc import Sequence

from gifine.report import settings
from gifine.report.analysis import power, statistics
from gifine.report.analysis.comparison import FEWEST_PAIRS, Comparison, Effect, Verdict
from gifine.report.contents import Contents
from gifine.report.formats.words import Item, Piece, Sheet, counts, linked, p_value, plain
from gifine.runs.records import Status

_NAMED = 4  # comparisons in the answer


def sheet(contents: Contents) -> Sheet:
    shown = [each for each in contents.comparisons if each.is_primary]
    extra = list(shown[0].extra) if shown else []
    heads = ["model", *extra, "gate", "task", "n", "difference", "95 % interval", "verdict", "p", "p Holm"]
    heads += ["p sign-flip", "p sign", "p examples", "ε_min", "detectable"]
    rows = []
    for each in shown:
        start = [each.model, *map(settings.shown, each.extra.values()), settings.gate(each.gate)]
        task = f"{each.task.title} ({each.task.described(each.measure)})"
        test = each.predictions
        examples = p_value(test.p) if test is not None else ""
        runs = [run for pair in each.pairs for run in (pair.baseline, pair.gated)]
        numbers = [linked(item, runs) for item in _effect(each.effect, examples)]
        rows.append([*map(plain, start), plain(task), *numbers[:3], _verdict(each), *numbers[3:]])
        if each.regular is not None:
            without = [*start[:-1], f"{start[-1]}, without degenerate"]
            verdict = plain(_conclusion(each.regular))
            pairs = [pair for pair in each.pairs if Status.DEGENERATE not in (pair.baseline.status, pair.gated.status)]
            runs = [run for pair in pairs for run in (pair.baseline, pair.gated)]
            numbers = [linked(item, runs) for item in _effect(each.regular, "")]
            rows.append([*map(plain, without), plain(task), *numbers[:3], verdict, *numbers[3:]])
    return Sheet("comparison", "Gated runs against their baseline", heads, rows, _comparison_notes(contents, shown))


def answer(contents: Contents) -> str:
    """Whether the gates help, in a sentence: what `comparison.judge` found, and no more."""
    judged = [each for each in contents.comparisons if each.is_primary]
    if not judged:
        return "Nobody can say: no gated run has a baseline that differs from it in the gate alone."
    if all(each.effect.summary.n < FEWEST_PAIRS for each in judged):
        return f"Nobody can say yet: no comparison has the {FEWEST_PAIRS} pairs of runs that a verdict needs."
    found = {
        verdict: [each for each in judged if each.effect.verdict is verdict]
        for verdict in (Verdict.HELPS, Verdict.HURTS)
    }
    decided = sum(map(len, found.values()))
    whole = f"{len(judged)} comparison{'s' * (len(judged) != 1)} of gated runs with their baseline"
    if not decided:
        return f"Undecided: none of {whole} shows a difference. That is not to say that there is none."
    several_models = len({each.model for each in judged}) > 1
    words = []
    for verdict, those in found.items():
        names = [_named(each, with_model=several_models) for each in those[:_NAMED]]
        names += [f"{len(those) - _NAMED} more"] if len(those) > _NAMED else []
        words.append(f"it {verdict} in {len(those)}" + (f" ({'; '.join(names)})" if names else ""))
    said = f"Of {whole}, {', '.join(words)} and {len(judged) - decided} are undecided."
    if len({each.family for each in judged}) > 1:
        left = _still_decided(judged)
        said += f" Corrected for all that was tried, {left} of the {decided} that it helps or hurts {_is(left)} left."
    return said


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _named(comparison: Comparison, *, with_model: bool) -> str:
    model = f"{comparison.model}, " if with_model else ""
    return f"{model}{comparison.task.title} with {settings.gate(comparison.gate)}"


def _still_decided(shown: Sequence[Comparison]) -> int:
    """How many verdicts are left after a correction over all comparisons."""
    decided = [each for each in shown if each.effect.verdict in (Verdict.HELPS, Verdict.HURTS)]
    return sum(each.p_holm_all is not None and each.p_holm_all < statistics.ALPHA for each in decided)


def _effect(effect: Effect, examples: str) -> list[Item]:
    interval, summary = effect.interval, effect.summary
    words = [
        str(summary.n),
        f"{100 * summary.mean:+.2f}" if summary.mean is not None else "–",
        f"{100 * interval[0]:+.2f} … {100 * interval[1]:+.2f}" if interval is not None else "",
        p_value(effect.p),
        p_value(effect.p_holm),
        p_value(effect.p_sign_flip),
        p_value(effect.p_sign),
        examples,
        f"{effect.epsilon_min:.2f}" if effect.epsilon_min is not None else "",
        f"{100 * effect.detectable:.2f}" if effect.detectable is not None else "",
    ]
    return [plain(word) for word in words]


def _verdict(comparison: Comparison) -> Item:
    words = _conclusion(comparison.effect)
    for side, failures in comparison.failures.items():
        if failures:
            words += f"; {side}: {counts(failures)}"
    words += "".join(f"; {caution}" for caution in comparison.cautions)
    decided = comparison.effect.verdict in (Verdict.HELPS, Verdict.HURTS)
    return (Piece(words, decided),)


def _conclusion(effect: Effect) -> str:
    if effect.verdict is not Verdict.UNDECIDED:
        return str(effect.verdict or "")
    if effect.summary.n < FEWEST_PAIRS:
        return f"undecided: needs {FEWEST_PAIRS} pairs"
    if effect.more_seeds is None:
        return f"undecided; over {power.MOST_PAIRS} seeds to settle it" if effect.summary.sd else "undecided"
    return f"undecided; about {effect.more_seeds} more seeds would settle it"


def _comparison_notes(contents: Contents, shown: Sequence[Comparison]) -> list[str]:
    if not shown:
        return ["No gated run has a baseline that differs from it in the gate alone."] if contents.unpaired else []
    notes = [
        "Differences in points of percent, gated minus baseline, of n pairs that share all but the gate. "
        "Verdict: the paired t-test's p, after Holm's correction over the tasks of a row's gate, is below "
        f"{statistics.ALPHA}, of at least {FEWEST_PAIRS} pairs; the interval is Student's t, since a bootstrap of few "
        "seeds is too narrow. p sign-flip (exact permutation) and p sign assume less; p examples asks whether the same "
        "models would differ on other examples (McNemar's mid-p, or a paired bootstrap). ε_min (almost stochastic "
        "order): below 0.5 the gates dominate. Detectable: the difference that n pairs show with 80 % power. Undecided "
        'is not "no effect"; the number of seeds takes the observed difference for the true one.'
    ]
    fewest = {each.effect.summary.n for each in shown if each.effect.p is not None}
    small = sorted(n for n in fewest if statistics.sign_flip_floor(n) > statistics.ALPHA)
    if small:
        floors = ", ".join(f"{statistics.sign_flip_floor(n):.4g} at n = {n}" for n in small)
        notes.append(f"p sign-flip cannot be below 0.05 with fewer than 6 pairs (at least {floors}).")
    decided = [each for each in shown if each.effect.verdict in (Verdict.HELPS, Verdict.HURTS)]
    families = len({each.family for each in shown})
    if families > 1:
        notes.append(
            f"{families} gated settings were tried: of {len(decided)} that help or hurt, {_still_decided(shown)} still "
            f"do after Holm's correction over all {len(shown)} comparisons."
        )
    reasons = {each.predictions.reason for each in shown if each.predictions is not None and each.predictions.reason}
    return [*notes, *(f"p examples is missing, or of fewer pairs, where {reason}." for reason in sorted(reasons))]
