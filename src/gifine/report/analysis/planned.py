"""A plan that was written before the runs, held against those that there are: what deviates, and what may count.

Runs of a planned setting with another seed do not count: whoever adds seeds until it turns out is wrong more often than
in 5 % of cases. What the plan does not have at all is explored: it is compared, and corrected over all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from gifine.errors import PlanError
from gifine.report import settings
from gifine.report.reading import Run
from gifine.report.settings import Settings
from gifine.runs.preregistration import Preregistration
from gifine.runs.records import FINISHED


class Kind(StrEnum):
    """How runs deviate from a plan."""

    MISSING = "planned, and not there"
    UNFINISHED = "planned, and without a result"
    SEED = "of a seed that the plan does not have: left out"
    EXTRA = "not planned: explored"
    LATE = "finished before the plan was written"  # the plan says so itself
    EARLY = "started before the plan was written"
    OTHER = "named another plan"
    UNNAMED = "named no plan"


@dataclass(slots=True)
class Deviation:
    kind: Kind
    runs: list[Run]
    missing: dict[str, str] = field(default_factory=dict)  # run_ids and slugs, of MISSING

    @property
    def names(self) -> list[str]:
        """Of the runs, as people know them."""
        return [run.slug for run in self.runs] or [*self.missing.values()]

    @property
    def run_ids(self) -> list[str]:
        return [run.run_id for run in self.runs] or [*self.missing]


@dataclass(slots=True)
class Held:
    plan: Preregistration
    kept: list[Run]  # all that may count
    present: list[Run]  # of these the planned ones
    deviations: list[Deviation]  # those that there are

    @property
    def left_out(self) -> list[Run]:
        return [run for each in self.deviations if each.kind is Kind.SEED for run in each.runs]

    @property
    def undated(self) -> list[Run]:
        """The planned ones whose records do not say when they were started, nor does the plan."""
        late = set(self.plan.finished_before)
        return [run for run in self.present if run.run_id not in late and _begun(run) is None]

    @property
    def baseline(self) -> Settings | None:
        """What its arms are compared with, as `settings.find_baseline`: whatever else is there has no say in it.

        That the plain model's runs are not there yet makes none of another arm that the plan compares with them.
        """
        found = settings.find_baseline((run.gate for run in self.present), None)
        is_compared = found is not None and any(each.change == found.values() for each in self.plan.hypotheses)
        return None if is_compared else found

    def count(self, *kinds: Kind) -> int:
        """How many different runs deviate in one of these ways."""
        return len({run_id for each in self.deviations if each.kind in kinds for run_id in each.run_ids})


def hold(plan: Preregistration, runs: Sequence[Run]) -> Held:
    """What of these runs the plan has, and what deviates from it.

    Raises:
        PlanError: if it has none of them.
    """
    present = [run for run in runs if run.run_id in plan.runs]
    if not present:
        raise PlanError(_unfit(plan, runs))
    planned: set[tuple[Settings, Settings]] = {(run.setup, run.gate) for run in present}
    others = [run for run in runs if run.run_id not in plan.runs]
    seeds = [run for run in others if (run.setup, run.gate) in planned]
    extra = [run for run in others if (run.setup, run.gate) not in planned]
    there = {run.run_id for run in present}
    late = set(plan.finished_before)
    found = [
        Deviation(Kind.MISSING, [], {run_id: slug for run_id, slug in plan.runs.items() if run_id not in there}),
        Deviation(Kind.UNFINISHED, [run for run in present if run.status not in FINISHED]),
        Deviation(Kind.SEED, seeds),
        Deviation(Kind.EXTRA, extra),
        Deviation(Kind.LATE, [run for run in present if run.run_id in late]),
        Deviation(Kind.EARLY, [run for run in present if run.run_id not in late and _is_early(run, plan.written)]),
        Deviation(Kind.OTHER, [run for run in present if run.plan is not None and run.plan[1] != plan.sha256]),
        Deviation(Kind.UNNAMED, [run for run in present if run.plan is None]),
    ]
    left_out = {id(run) for run in seeds}
    kept = [run for run in runs if id(run) not in left_out]
    return Held(plan, kept, present, [each for each in found if each.runs or each.missing])


def _is_early(run: Run, written: datetime) -> bool:
    """By the clocks of the machines."""
    begun = _begun(run)
    return begun is not None and begun < written


def _begun(run: Run) -> datetime | None:
    """None where it was not recorded, or is no date with a time zone."""
    try:
        found = datetime.fromisoformat(run.begun) if run.begun is not None else None
    except (ValueError, TypeError):
        return None
    return found if found is not None and found.tzinfo is not None else None


def _unfit(plan: Preregistration, runs: Sequence[Run]) -> str:
    said = f"{plan}: has none of the runs that there are ({len(runs):,}), but others ({len(plan.runs):,})"
    slugs = {slug: run_id for run_id, slug in plan.runs.items()}
    for run in runs:
        if run.slug in slugs:
            return f"{said}; {run.slug} was planned as {slugs[run.slug]}, the run of that name is {run.run_id}"
    return f"{said}, such as {next(iter(plan.runs.values()), 'none')}"
