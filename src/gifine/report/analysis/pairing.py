"""Changed runs with the baseline that differs from them in the change alone, and those that have none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gifine.report import circumstances, settings
from gifine.report.reading import Run
from gifine.report.settings import Settings
from gifine.runs.records import Status
from gifine.runs.replicate import STREAMS, Replicate, Twin

_NAMED = 6  # keys in a reason
_CANDIDATES = 200  # settings that the nearest one is looked for in: enough to say what is wrong


@dataclass(slots=True, frozen=True)
class Pair:
    """The same model, task, data, recipe, head, order and dropout, without a change and with it, or with another.

    Where they start from other runs, these have the same seeds, too.
    """

    baseline: Run
    gated: Run

    @property
    def differing(self) -> dict[str, tuple[str, str]]:
        """What moves results, is no part of a config and differs: by name what it was of the baseline, of the other."""
        return circumstances.differing(self.baseline.circumstances, self.gated.circumstances)


def members(pairs: Iterable[Pair]) -> list[Run]:
    """The runs of these pairs, each baseline before its gated run."""
    return [run for pair in pairs for run in (pair.baseline, pair.gated)]


def failures(pairs: Sequence[Pair]) -> dict[str, dict[Status, int]]:
    """Of `baseline` and `gated`, how many runs are other than done, by status."""
    arms = {"baseline": [each.baseline for each in pairs], "gated": [each.gated for each in pairs]}
    return {
        arm: dict(Counter(run.status for run in runs if run.status is not Status.DONE)) for arm, runs in arms.items()
    }


@dataclass(slots=True)
class Unpaired:
    """Runs of one setting that are in no pair."""

    runs: list[Run]
    reason: str  # what would have to be, or what differs from the nearest setting
    is_baseline: bool


def pair(
    runs: Iterable[Run], *, strict: bool = False, against: Settings | None = None
) -> tuple[list[Pair], list[Unpaired]]:
    """A pair for each changed run whose baseline is there, whatever became of them; and the others.

    `against` is the arm that baselines are of, in the place of the plain model, which then is in no pair.

    What a pair must share is all that decides a result but the gate: the deciding config (`identity.deciding`) without
    `gi`, and what was found when it ran: the data, weights and word pieces that were read and the number of processes.
    `strict` ones share what else they were computed with, too: `circumstances`.
    """
    plain: dict[tuple[Settings, Twin | Replicate], Run] = {}
    gated: list[Run] = []
    for run in runs:
        if settings.is_baseline(run.gate, against):
            plain[run.setup, shared(run.replicate, against)] = run
        elif against is None or not settings.is_baseline(run.gate):
            gated.append(run)
    pairs: list[Pair] = []
    refused: dict[int, tuple[Run, str]] = {}  # by id: the run, and what else differs from its partner
    for run in gated:
        baseline = plain.get((run.setup, shared(run.replicate, against)))
        differing = other_circumstances(baseline, run, strict=strict) if baseline is not None else None
        if baseline is not None and differing is None:
            pairs.append(Pair(baseline, run))
        elif baseline is not None and differing is not None:
            refused |= {id(each): (each, differing) for each in (baseline, run)}
    paired = {id(run) for each in pairs for run in (each.baseline, each.gated)}
    groups: dict[tuple[Settings, Settings, str | None], list[Run]] = {}
    for run in [*plain.values(), *gated]:
        if id(run) not in paired:
            _, differing = refused.get(id(run), (run, None))
            groups.setdefault((run.setup, run.gate, differing), []).append(run)
    partners = {True: _setups(gated), False: _setups(plain.values())}  # of baselines, of gated runs
    unpaired = []
    for (_, gate, differing), group in groups.items():
        is_baseline = settings.is_baseline(gate, against)
        reason = differing or _reason(group[0], partners[is_baseline].get(group[0].task.name), is_baseline=is_baseline)
        unpaired.append(Unpaired(group, reason, is_baseline))
    return pairs, unpaired


def shared(replicate: Replicate, against: Settings | None) -> Twin | Replicate:
    """What a run's seeds have in common with those of its baseline, which is of the arm `against`, as in `pair`.

    A plain model draws nothing for a change. Another change does, and two changes have one seed of that.
    """
    return replicate.twin if against is None or settings.is_plain(against) else replicate


def cautions(pairs: Sequence[Pair]) -> list[str]:
    """What differs within pairs, in words; `twins` has the values."""
    found = [differing for each in pairs if (differing := each.differing)]
    names = ", ".join(dict.fromkeys(name for differing in found for name in differing))
    return [f"{len(found)} of {len(pairs)} pairs differ{'s' * (len(found) == 1)} in {names}"] if found else []


def dependence(pairs: Sequence[Pair]) -> tuple[str | None, str | None]:
    """What to say of pairs that share seeds of some streams: a caution, and why they allow no verdict.

    Where all share a stream the difference is known for that one draw of it. Where some do, they are no independent
    draws, and n pairs say less than n. So it is with pairs that start from runs of one seed.
    """
    shared = fixed(pairs)
    caution = f"all pairs have one seed of {', '.join(shared)}: of other ones nothing is said" if shared else None
    partly = [name for name, count in _draws(pairs).items() if 1 < count < len(pairs)]
    doubt = f"pairs that share seeds of {', '.join(partly)} are not independent" if partly else None
    return caution, doubt


def fixed(pairs: Sequence[Pair]) -> list[str]:
    """The streams of random numbers of which several pairs all have one seed; and the run before them, if so."""
    return [name for name, count in _draws(pairs).items() if count == 1] if len(pairs) > 1 else []


def _draws(pairs: Sequence[Pair]) -> dict[str, int]:
    """How many seeds there are of each stream, and of the run that all start from if they do."""
    drawn = [each.gated.replicate for each in pairs]
    different = {name: len({getattr(each, name) for each in drawn}) for name in STREAMS}
    if all(each.gated.first is not None for each in pairs):
        different["the run that they start from"] = len({each.gated.first for each in pairs})
    return different


def other_circumstances(baseline: Run, gated: Run, *, strict: bool) -> str | None:
    """What differs between two runs though their configs agree; what a run did not come to say differs from nothing."""
    found = [
        f"{what} ({ours}, {theirs})"
        for what, theirs, ours in (
            ("the data's fingerprint", baseline.data, gated.data),
            ("the fingerprint of the weights that were read", baseline.weights, gated.weights),
            ("the fingerprint of the word pieces", baseline.tokenizer, gated.tokenizer),
            ("the number of processes", baseline.processes, gated.processes),
        )
        if None not in (ours, theirs) and ours != theirs
    ]
    if strict:
        other = circumstances.differing(baseline.circumstances, gated.circumstances)
        other.pop("processes", None)  # told above
        found += [f"{what} ({ours}, {theirs})" for what, (theirs, ours) in other.items()]
    return f"it differs in {' and '.join(found)}" if found else None


def _setups(runs: Iterable[Run]) -> dict[str, dict[Settings, Counter[Replicate]]]:
    """By task the settings that there are, with their seeds."""
    found: dict[str, dict[Settings, Counter[Replicate]]] = {}
    for run in runs:
        found.setdefault(run.task.name, {}).setdefault(run.setup, Counter())[run.replicate] += 1
    return found


def _reason(run: Run, partners: dict[Settings, Counter[Replicate]] | None, *, is_baseline: bool) -> str:
    wanted = "changed run" if is_baseline else "baseline"
    if not partners:
        return f"no {wanted} of this task"
    if run.setup in partners:
        there = sorted(partners[run.setup])
        after = " after a run of the same seed" if any(each.first for each in (run.replicate, *there)) else ""
        return f"no {wanted} of the same seed{after}; there are seeds {', '.join(map(str, there))}"
    nearest = min(list(partners)[:_CANDIDATES], key=lambda each: len(run.setup.differing(each)))
    keys = run.setup.differing(nearest)
    words = [
        f"{key} {settings.shown(run.setup.get(key))}, there {settings.shown(nearest.get(key))}" for key in keys[:_NAMED]
    ]
    more = f"; and {len(keys) - _NAMED} more keys" if len(keys) > _NAMED else ""
    return f"the nearest {wanted} differs: {'; '.join(words)}{more}"
