"""The part of the config's schema that says what a task is: `config.py` says what holds for all of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING

from gifine.choices import Objective, Part, Quoting, Sharing
from gifine.schema import deciding_if_set, not_deciding

if TYPE_CHECKING:
    Text = str
else:  # OmegaConf would turn YAML's `no` and `1.0` into text; compose/composition.py refuses them
    Text = Any


@dataclass
class HubConfig:
    path: str | None = None  # the data set's Hub id, or a folder of a data set
    name: str | None = None  # its config, such as cola of nyu-mll/glue


@dataclass
class SplitConfig:
    """Where a split is: its name on the Hub, and its file in the official directory layout."""

    hub: str | None = None  # the split's name on the Hub
    tsv: str | None = None  # the split's official file, below data.dir
    json: str | None = deciding_if_set(None)  # the same of SQuAD's
    hub_name: str | None = None  # the Hub's config where it is not task.hub.name
    header: bool = True  # the first line of the file names the columns
    submission: str | None = None  # the file that GLUE's server takes this test split's predictions in
    columns: dict[str, Text] = field(default_factory=dict)  # task's column: header in the file, or position from 0

    @property
    def official(self) -> str | None:
        """The split's official file, whatever its format."""
        return self.tsv if self.json is None else self.json


@dataclass
class FilesConfig:
    """One's own csv, tsv, json or jsonl files, with the columns of `inputs` and `label`; of questions, SQuAD's JSON."""

    train: str | None = None  # needs validation, too
    validation: str | None = None  # needs train, too
    test: str | None = None  # for predictions; it needs no labels
    quoting: Quoting = deciding_if_set(Quoting.auto)  # what quotes are in csv and tsv files


@dataclass
class MaskingConfig:
    """Of pre-training: which tokens a model has to find again, and what stands in their place."""

    share: float = deciding_if_set(0.15)  # of a text's tokens, above 0, below 1: those that are asked for
    # words in a row that are asked for together are at most so many, n of them with a probability in proportion to 1/n
    max_ngram: int = deciding_if_set(1)
    whole_words: bool = deciding_if_set(False)  # with a piece of a word all its pieces; more than one word always so
    most: int | None = deciding_if_set(None)  # at most so many tokens of an example; null: as many as `share` gives
    mask: float = deciding_if_set(0.8)  # of the tokens asked for, those with the mask in their place
    random: float = deciding_if_set(0.1)  # of them, those with any token in their place; the others stay


@dataclass
class GeneratorConfig:
    """Of task.objective=rtd: the model that replaces words. It is of the same family as the discriminator."""

    # its embeddings and the discriminator's; null: gdes for DeBERTas, shared for BERT and RoBERTa
    sharing: Sharing | None = deciding_if_set(None)
    # how many it has; null: half of the discriminator's with gdes, as DeBERTaV3's, else as many
    layers: int | None = deciding_if_set(None)
    config_overrides: dict[str, Any] = deciding_if_set(factory=dict)  # its entries of config.json that are others
    # its first weights: Hub id, folder or run; null: the first layers of model.checkpoint, or random with random_init
    checkpoint: str | None = deciding_if_set(None)
    learning_rate: float | None = deciding_if_set(None)  # null: train.learning_rate


@dataclass
class TaskConfig:
    name: str = MISSING  # in records, reports, metrics and the names of folders
    title: str | None = not_deciding(None)  # as papers write it, for people; null: the name
    objective: Objective = deciding_if_set(Objective.classification)  # what is asked of a model
    inputs: list[Text] = MISSING  # one or two text columns; of questions, those of the question and of the context
    label: str = "label"  # the column of the labels; of questions, that of the answers
    labels: list[Text] = field(default_factory=list)  # their names in the order of ids; empty: regression
    # of questions: some have no answer in their context, as in SQuAD 2.0; to say so is an answer, too
    unanswerable: bool = deciding_if_set(False)
    # of questions: long contexts are read in windows that start so many tokens apart
    stride: int = deciding_if_set(128)
    max_question_tokens: int = deciding_if_set(64)  # longer questions are cut
    max_answer_tokens: int = deciding_if_set(30)  # of questions: longer answers are not given
    masking: MaskingConfig = field(default_factory=MaskingConfig)  # of pre-training
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)  # of rtd
    changed: Part = deciding_if_set(Part.both)  # of rtd: where the change to attention is
    rtd_weight: float = deciding_if_set(10.0)  # of rtd: the discriminator's loss counts so much beside the generator's
    # of rtd: a step of the generator, then one of the discriminator on its new embeddings; false: one step of both;
    # null: true, but with shared embeddings
    decoupled: bool | None = deciding_if_set(None)
    # accuracy, f1 (two classes), f1_macro, matthews; of a regression pearson, spearman; of questions exact_match, f1;
    # with `unanswerable` exact, f1, HasAns_exact, HasAns_f1, NoAns_exact, NoAns_f1, best_exact, best_f1;
    # of pre-training mlm_loss, perplexity, mlm_accuracy; of rtd also rtd_loss, rtd_accuracy, auc
    metrics: list[Text] = MISSING
    select_by: str = MISSING  # the one of `metrics` that chooses the best checkpoint
    hub: HubConfig = field(default_factory=HubConfig)
    splits: dict[str, SplitConfig] = field(default_factory=dict)
    train_split: str = "train"  # the one of `splits` to train on
    evaluation_splits: list[Text] = field(default_factory=lambda: ["validation"])  # the first chooses the checkpoint
    test_splits: list[Text] = not_deciding(factory=lambda: ["test"])  # what `gifine predict` predicts
    submission_labels: list[Text] = not_deciding(factory=list)  # what a submission calls `labels`; empty: their names
    submission_range: list[float] = not_deciding(factory=list)  # of a regression: lowest and highest; empty: any
    skip_short_rows: bool = False  # leave out rows that lack columns, which official QQP has; else they are an error
    files: FilesConfig = field(default_factory=FilesConfig)

    def sharing(self, family: str) -> Sharing:
        """What generator and discriminator have in common, in a model of this family (with or without `gi_`)."""
        usual = Sharing.gdes if "deberta" in family else Sharing.shared
        return self.generator.sharing or usual

    def steps_apart(self, family: str) -> bool:
        """Whether generator and discriminator take a step each."""
        apart = self.sharing(family) is not Sharing.shared
        return apart if self.decoupled is None else self.decoupled
