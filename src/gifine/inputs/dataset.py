"""A task's examples, from the Hub, the official GLUE files, one's own files or the demo grammar, as token ids.

Tokenised splits are kept, as token_cache.py says, and memory-mapped when read. Text to pre-train on is corpora/'s.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import datasets
import pyarrow as pa
from transformers import PreTrainedTokenizerFast

from gifine.config import RunConfig, TaskConfig
from gifine.inputs import corpora, offline, origins
from gifine.inputs.offline import TOKENISED, Folder
from gifine.inputs.origins import Origin
from gifine.inputs.rows import Row
from gifine.inputs.token_cache import Split, cache_dir, forget_last_call, make_once, tokenizer_fingerprint

log = logging.getLogger(__name__)


class Preparing(Protocol):
    """What of an objective is needed here; objectives/__init__.py says what it means."""

    LAYOUT: int

    def prepare(
        self,
        rows: Sequence[Row],
        task: TaskConfig,
        tokenizer: PreTrainedTokenizerFast,
        max_length: int,
        *,
        labelled: bool,
        fingerprint: str,
    ) -> datasets.Dataset: ...


@dataclass(frozen=True)
class Reader:
    """Reads the splits of a run's task from where its config says that data lie.

    The methods raise:
        DataError: for data that is missing, unreachable, or not as the task says.
        OutputError: where the cache cannot be written.
        PrefetchError: where the prefetched folder lacks a tokenised split.
    """

    config: RunConfig
    prefetched: Folder | None = None  # to which `config` has been redirected

    def load(self, tokenizer: PreTrainedTokenizerFast, objective: Preparing) -> dict[str, Split]:
        """The training split and the evaluation splits, by name."""
        if self.config.task.objective.pretrains:
            return corpora.load(self.config, tokenizer, self.prefetched)
        split = self.config.task.train_split
        train = self._load(split, self.config.data.max_train_rows, tokenizer, objective)
        return {split: train} | self.load_evaluation(tokenizer, objective)

    def load_evaluation(self, tokenizer: PreTrainedTokenizerFast, objective: Preparing) -> dict[str, Split]:
        """The evaluation splits alone."""
        if self.config.task.objective.pretrains:
            return {corpora.HELD_OUT: self.load(tokenizer, objective)[corpora.HELD_OUT]}
        limit = self.config.data.max_eval_rows
        splits = evaluation_splits(self.config.task)
        return {split: self._load(split, limit, tokenizer, objective) for split in splits}

    def load_tests(
        self, splits: Iterable[str], tokenizer: PreTrainedTokenizerFast, objective: Preparing
    ) -> dict[str, Split]:
        """Test splits: all of their rows, without labels whether or not the source has some."""
        return {split: self._load(split, None, tokenizer, objective, labelled=False) for split in splits}

    def fingerprints(self, splits: Iterable[str], *, labelled: bool = True) -> dict[str, str]:
        """Of each split's source, as `Split` has it: found and, if it is a file, hashed, but not tokenised."""
        if self.config.task.objective.pretrains:
            return dict.fromkeys(splits, corpora.fingerprint(self.config, self.prefetched))
        return {split: self._find(split, labelled).fingerprint for split in splits}

    def _find(self, split: str, labelled: bool) -> Origin:
        return origins.find(self.config.task, self.config.data, split, self.prefetched, labelled)

    def _load(
        self,
        split: str,
        limit: int | None,
        tokenizer: PreTrainedTokenizerFast,
        objective: Preparing,
        *,
        labelled: bool = True,
    ) -> Split:
        datasets.disable_progress_bars()
        task, max_length, prefetched = self.config.task, self.config.train.max_length, self.prefetched
        origin = self._find(split, labelled)
        parts = [objective.LAYOUT, origin.fingerprint, task.inputs, limit, max_length, tokenizer_fingerprint(tokenizer)]
        parts += [*origin.reader, *([] if labelled else ["unlabelled"])]
        key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
        folder = cache_dir(self.config.data) / TOKENISED / f"{task.name}-{split}-{key}"
        if prefetched and not prefetched.filling and not folder.is_dir():
            raise prefetched.lacks(f"the tokens of task={task.name}, {split}, for this tokenizer and train.max_length")

        def tokenise() -> datasets.Dataset:
            rows = origin.read_rows()[:limit]
            log.info("tokenising %d examples for %s", len(rows), folder.name)
            if empty := [row.idx for row in rows if not all(map(str.strip, row.texts))]:
                first = empty[0]
                log.warning(
                    "%s: %d rows have an empty text; the first is row %d, from 0", folder.name, len(empty), first
                )
            examples = objective.prepare(rows, task, tokenizer, max_length, labelled=labelled, fingerprint=key)
            forget_last_call(tokenizer)
            return examples

        make_once(folder, lambda place: tokenise().save_to_disk(str(place), num_shards=1))
        return Split(datasets.Dataset.load_from_disk(str(folder)), origin.fingerprint)


def open_reader(config: RunConfig) -> Reader:
    """For a run of this config: of a prefetched folder if it names one, to which it is redirected, its model too.

    Raises:
        PrefetchError: for what is not there, save tokenised splits.
    """
    folder = offline.open_folder(config)
    return Reader(config) if folder is None else Reader(folder.redirect(config), folder)


def tokens(splits: Mapping[str, Split]) -> set[int]:
    """The ids of all tokens that occur in the splits; no example is decoded."""
    found: set[int] = set()
    for split in splits.values():
        for table in split.examples.with_format("arrow").iter(10_000):
            assert isinstance(table, pa.Table)
            found.update(table["input_ids"].combine_chunks().flatten().unique().to_pylist())
    return found


def evaluation_splits(task: TaskConfig) -> list[str]:
    return task.evaluation_splits if task.files.train is None else ["validation"]
