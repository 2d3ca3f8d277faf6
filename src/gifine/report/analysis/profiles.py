"""Scores over tasks as distributions, by the definitions of rliable (Agarwal et al. 2021, arXiv 2108.13264)."""

from __future__ import annotations

import numpy as np

_SEED = 2208  # the same records, the same figure
_DRAWS = 2000


def interquartile_mean(scores: np.ndarray) -> np.ndarray:
    """Of scores (…, S, K) by run and task, the mean of the middle half of all: IQM (…)."""
    flat = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    cut = flat.shape[-1] // 4
    return flat[..., cut : flat.shape[-1] - cut].mean(axis=-1)


def profile(scores: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Of scores (S, K), the share of runs of all tasks that is above each of the levels (L,): (L,)."""
    return np.mean(scores.reshape(-1, 1) > levels, axis=0)


def interval(scores: np.ndarray) -> tuple[float, float]:
    """95 % of the interquartile mean of scores (S, K): a bootstrap of the runs of each task. Too narrow of few runs."""
    runs, tasks = scores.shape
    drawn = np.random.default_rng(_SEED).integers(runs, size=(_DRAWS, runs, tasks))
    low, high = np.quantile(interquartile_mean(scores[drawn, np.arange(tasks)]), [0.025, 0.975])
    return float(low), float(high)
