"""SQuAD's official scores of answers in words, v1.1 and v2.0: what the two evaluation scripts print. No torch.

Rajpurkar et al. 2016 (arXiv 1606.05250) and 2018 (arXiv 1806.03822). The rules are those of evaluate-v1.1.py and
evaluate-v2.0.py, and the tests hold the numbers against what the scripts gave. `as_evaluate` has both behind the
interface of `evaluate`, which would fetch its own from the Hub.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import evaluate

ORACLES = ("best_exact", "best_f1")  # with a threshold that is chosen on the questions that they score
V1 = ("exact_match", "f1")
V2 = ("exact", "f1", "HasAns_exact", "HasAns_f1", "NoAns_exact", "NoAns_f1", *ORACLES)
NEVER = 1.0  # no probability is greater: the official default, with which no answer is taken back

_PUNCTUATION = str.maketrans("", "", string.punctuation)  # ASCII's alone: “ and ½ stay
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def normalise(text: str) -> str:
    """In small letters, without ASCII punctuation and then without articles, its words one space apart."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def judge(texts: Sequence[str], golds: Sequence[Sequence[str]], *, no_answers: bool) -> tuple[np.ndarray, np.ndarray]:
    """Exact match and F1 of each of Q answers, (Q,) each, in 0 … 1; of several golds each takes its own best.

    With `no_answers`, v2.0's rules: no gold means that "" is right, golds that normalise to nothing are left out, and
    where one of the two has no words, F1 is 1 if both have none. Without, v1.1's: all golds count, and F1 is 0 there.

    Raises:
        ValueError: without `no_answers`, for a question that has no gold.
    """
    pairs = [_best(text, each, no_answers=no_answers) for text, each in zip(texts, golds, strict=True)]
    exact, f1 = np.asarray(pairs, dtype=float).reshape(-1, 2).T
    return exact, f1


def _best(text: str, golds: Sequence[str], *, no_answers: bool) -> tuple[float, float]:
    wanted = [normalise(gold) for gold in golds]
    if no_answers:
        wanted = [gold for gold in wanted if gold] or [""]
    elif not wanted:
        raise ValueError("a question without a gold answer: those are v2.0's alone")
    given = normalise(text)
    return float(given in wanted), max(_f1(given.split(), gold.split(), both_none=no_answers) for gold in wanted)


def _f1(given: list[str], wanted: list[str], *, both_none: bool) -> float:
    """Of two bags of words."""
    if not given or not wanted:
        return float(both_none and given == wanted)
    common = (Counter(given) & Counter(wanted)).total()
    precision, recall = common / len(given), common / len(wanted)
    return 2 * precision * recall / (precision + recall) if common else 0.0


def v1(predictions: Mapping[str, str], golds: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """`V1` in percent, of all questions in `golds`; by id, the answers. One that is missing scores 0.

    Raises:
        ValueError: without questions, or for a question without a gold.
    """
    _check(golds)
    asked = [name for name, wanted in golds.items() if name in predictions or not wanted]
    exact, f1 = judge([predictions.get(name, "") for name in asked], [golds[name] for name in asked], no_answers=False)
    return {"exact_match": 100 * float(exact.sum()) / len(golds), "f1": 100 * float(f1.sum()) / len(golds)}


def v2(
    predictions: Mapping[str, str],
    golds: Mapping[str, Sequence[str]],
    na_prob: Mapping[str, float] | None = None,
    threshold: float = NEVER,
) -> dict[str, float]:
    """In percent what evaluate-v2.0.py prints; by id, answers ("": there is none), golds and probabilities of none.

    An answer whose probability is greater than `threshold` is taken back. `best_*` come with `na_prob`: see `oracle`.

    Raises:
        ValueError: without questions.
        KeyError: for a question without an answer, or an answer without a probability.
    """
    _check(golds)
    texts, wanted = [predictions[name] for name in golds], list(golds.values())
    answerable = np.asarray([bool(each) for each in wanted])
    exact, f1 = judge(texts, wanted, no_answers=True)
    if na_prob is None:
        return tell(exact, f1, answerable)
    probability = np.asarray([na_prob[name] for name in golds], dtype=float)
    taken = probability > threshold
    found = tell(without(exact, answerable, taken), without(f1, answerable, taken), answerable)
    place = {name: number for number, name in enumerate(golds)}
    order = np.asarray([place[name] for name in na_prob if name in place])  # equal probabilities: as in their file
    given = np.asarray([bool(text) for text in texts])
    for name, scores in (("exact", exact), ("f1", f1)):
        value, at = oracle(scores[order], answerable[order], given[order], probability[order])
        found |= {f"best_{name}": 100 * value, f"best_{name}_thresh": at}
    return found


def without(scores: np.ndarray, answerable: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """The scores (Q,) where the answers in `taken` (Q,) are "", which is right where there is no answer."""
    return np.where(taken, ~answerable, scores)


def tell(exact: np.ndarray, f1: np.ndarray, answerable: np.ndarray) -> dict[str, float]:
    """v2.0's figures of scores (Q,) in 0 … 1, in percent: of all questions, and of each kind that there is."""
    found: dict[str, float] = {}
    for prefix, kind in (("", np.full(len(exact), True)), ("HasAns_", answerable), ("NoAns_", ~answerable)):
        if kind.any():
            number = int(kind.sum())
            means = {name: 100 * float(each[kind].sum()) / number for name, each in (("exact", exact), ("f1", f1))}
            found |= {f"{prefix}{name}": value for name, value in (*means.items(), ("total", number))}
    return found


def oracle(scores: np.ndarray, answerable: np.ndarray, given: np.ndarray, doubts: np.ndarray) -> tuple[float, float]:
    """The best mean score, in 0 … 1, over all thresholds of `doubts`, and the first threshold that has it.

    All are (Q,): the scores of the answers as they are, whether there is an answer, whether one was given, and how
    likely it is that there is none (a probability, or anything that rises with it). Of equal doubts the first count
    first, one at a time, so that with many alike the threshold need not reach the score: the official script's way.
    The threshold is chosen on the very questions that it is judged by: no score that another data set would give.
    """
    order = np.argsort(doubts, kind="stable")
    gains = np.where(answerable, scores, np.where(given, -1.0, 0.0))[order]
    start = float(np.count_nonzero(~answerable))  # nothing is answered
    sums = np.cumsum(np.concatenate([[start], gains]))
    place = int(np.argmax(sums))
    return float(sums[place]) / len(scores), 0.0 if place == 0 else float(doubts[order][place - 1])


def as_evaluate(version: str, **options: Any) -> evaluate.Metric:
    """ "squad" (v1.1) or "squad_v2" as an `evaluate.Metric` with the columns of evaluate's own of these names.

    Predictions are {"id", "prediction_text"}, for squad_v2 with "no_answer_probability"; references are {"id",
    "answers": {"text": […], "answer_start": […]}}. `compute` of squad_v2 takes `no_answer_threshold`. `options` are
    evaluate.Metric's own.

    Raises:
        ValueError: for another name.
    """
    import datasets
    import evaluate  # seconds

    if version not in ("squad", "squad_v2"):
        raise ValueError(f"'{version}' is none of squad, squad_v2")
    text, number = datasets.Value("string"), datasets.Value("float64")
    answers = {"text": datasets.Sequence(text), "answer_start": datasets.Sequence(datasets.Value("int32"))}
    prediction = {"id": text, "prediction_text": text}
    if version == "squad_v2":
        prediction["no_answer_probability"] = number

    class SquadMetric(evaluate.Metric):
        def _info(self) -> evaluate.MetricInfo:
            return evaluate.MetricInfo(
                description=f"The official scores of {version}, in percent",
                citation="Rajpurkar et al. 2016 (arXiv 1606.05250); Rajpurkar, Jia and Liang 2018 (arXiv 1806.03822)",
                features=datasets.Features({"predictions": prediction, "references": {"id": text, "answers": answers}}),
            )

        # No **kwargs as in the base class: options that other metrics take must not be ignored.
        # pyrefly: ignore[bad-override]
        def _compute(
            self, *, predictions: Any, references: Any, no_answer_threshold: float = NEVER
        ) -> dict[str, float]:
            texts = {each["id"]: each["prediction_text"] for each in predictions}
            golds = {each["id"]: each["answers"]["text"] for each in references}
            if version == "squad":
                return v1(texts, golds)
            probability = {each["id"]: each["no_answer_probability"] for each in predictions}
            return v2(texts, golds, probability, no_answer_threshold)

    return SquadMetric(config_name=version, **options)


def _check(golds: Mapping[str, Sequence[str]]) -> None:
    if not golds:
        raise ValueError("there are no questions")
