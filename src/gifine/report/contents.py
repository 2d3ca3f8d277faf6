"""All that a report shows, as data: what text, plots and pages are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gifine.report import settings
from gifine.report.analysis import (
    answers,
    attrition,
    comparison,
    cost,
    families,
    pairing,
    planned,
    published,
    selection,
    table,
    tuning,
    twins,
    variance,
)
from gifine.report.analysis.answers import Answer
from gifine.report.analysis.attrition import Attrition
from gifine.report.analysis.comparison import Comparison
from gifine.report.analysis.cost import Spent
from gifine.report.analysis.families import Rules
from gifine.report.analysis.pairing import Unpaired
from gifine.report.analysis.planned import Held
from gifine.report.analysis.published import Entry
from gifine.report.analysis.table import Table
from gifine.report.analysis.tuning import Tuning
from gifine.report.analysis.twins import Difference
from gifine.report.analysis.variance import Component
from gifine.report.reading import Problem, Reading, Run
from gifine.report.settings import Settings
from gifine.runs.records import Status


@dataclass(slots=True)
class Contents:
    runs: list[Run]
    problems: list[Problem]
    changed: list[tuple[Run, list[str]]]  # runs, and what they were made of and is another file now
    table: Table
    comparisons: list[Comparison]
    rules: Rules  # by which they were judged
    answers: list[Answer]  # of each change, over its tasks
    losses: list[Attrition]  # of each change
    variance: list[Component]  # of runs that vary a single stream of random numbers
    twins: list[Difference]  # pairs that were not computed alike
    unpaired: list[Unpaired]  # if there are gated runs and baselines at all
    published: list[Entry]
    costs: list[Spent]  # of each arm and task
    tunings: list[Tuning]  # sweeps over hyper-parameters
    against: Settings | None = None  # the arm that baselines are of; None: the plain model
    plan: Held | None = None  # what was said before the runs, if a plan was given

    @property
    def failures(self) -> list[Run]:
        """Runs that have no result, by status: the record of a killed one still says that it is running."""
        order = (Status.FAILED, Status.DIVERGED, Status.INTERRUPTED, Status.RUNNING)
        return [run for status in order for run in self.runs if run.status is status]

    @property
    def counts(self) -> dict[Status, int]:
        """Runs by status."""
        counts = Counter(run.status for run in self.runs)
        return {status: counts[status] for status in Status if counts[status]}


def gather(
    reading: Reading,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] = table.COLUMNS,
    *,
    with_predictions: bool = True,
    rules: Rules | None = None,
    strict: bool = False,
) -> Contents:
    """Everything about these runs; reads predictions, where there are any, if it may.

    With `strict` there is no pair whose runs were not computed alike.

    Raises:
        ArgumentError: for rows and columns that are no keys of these runs, and for rules that fit no comparison.
        PlanError: for a plan that is of none of these runs.
    """
    rules = rules or Rules()
    held = planned.hold(rules.plan, reading.runs) if rules.plan is not None else None
    if held is not None:
        left_out = {id(run) for run in held.left_out}
        changed = [(run, files) for run, files in reading.changed if id(run) not in left_out]
        reading = replace(reading, runs=held.kept, changed=changed)
    results = table.build(reading.runs, rows, columns)
    if held is not None:
        against = held.baseline
    else:
        against = settings.find_baseline((run.gate for run in reading.runs), rules.against)
    pairs, unpaired = pairing.pair(reading.runs, strict=strict, against=against)
    tunings = tuning.compare(
        reading.runs, pairs, rules.margin, with_predictions=with_predictions, strict=strict, against=against
    )
    chosen = tuning.comparisons(tunings)
    pairs, unpaired = tuning.without_trials(pairs, tunings), tuning.without_tested(unpaired, tunings)
    comparisons = comparison.compare(pairs, with_predictions=with_predictions)
    losses = attrition.examine(comparisons, rules.margin, reading.runs)
    selection.examine(comparisons)
    families.judge([*comparisons, *chosen], rules)
    given = answers.give(comparisons, losses, reading.runs, rules, against)
    beside = published.set_beside(tuning.without_drawn(reading.runs, tunings))
    return Contents(
        runs=reading.runs,
        problems=reading.problems,
        changed=reading.changed,
        table=results,
        comparisons=comparisons,
        rules=rules,
        answers=given,
        losses=losses,
        variance=variance.find(reading.runs),
        twins=twins.find([*comparisons, *chosen]),
        unpaired=unpaired,
        published=beside,
        costs=cost.find(tuning.without_drawn(reading.runs, tunings), pairs),
        tunings=tunings,
        against=against,
        plan=held,
    )
