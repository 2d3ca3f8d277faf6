"""The config's schema: what each YAML key under conf/ may hold.

Plain dataclasses: Hydra composes conf/ over them, `cli.py` turns the result into one `RunConfig`, and everything
below works with that. Values that depend on each other are checked in `compose/checks.py`, since OmegaConf runs a
dataclass's own checks while fields still are '???'.

What does not decide the result of a run says so, and is not in its run_id: see `schema.py`.
The comment of each field, and of each value of an Enum, is its text in docs/configuration.md, which
`python docs/configuration.py` writes anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from gifine.choices import (
    Attention,
    DataSource,
    Device,
    EmbeddingRows,
    Evaluate,
    GateInit,
    GateSide,
    GateThreshold,
    Padding,
    Parameters,
    Precision,
    Schedule,
    Tracker,
    TrackingMode,
)
from gifine.schema import deciding_if_set, not_deciding
from gifine.task_config import TaskConfig

DEMO = "demo"  # the task, the data and the tokenizer that gifine generates itself

HYPERPARAMETERS = ("train.", "model.classifier_dropout")  # what keys begin with that a search may draw

GI = "gi"  # the change that is chosen by default; its keys are those of `gi`

BALANCED = "balanced"  # of train.class_weights: each class as heavy as the others, in the training set


@dataclass
class GiConfig:
    """Gate with Inhibition (arXiv 2208.00929)."""

    side: GateSide = MISSING  # where the gates are
    level: float = MISSING  # λ, 0 … 1: the threshold as a fraction of the maximum; published: 0, 0.1, 0.3, 0.9
    layers: int | None = None  # gate the last n layers, at least 1; null: all
    threshold: GateThreshold = GateThreshold.batch  # over what the maximum is taken
    mask_padding: bool = False  # leave padding out of the maximum
    init: GateInit = GateInit.normal  # the gates' weights at the first step


@dataclass
class SizeConfig:
    """One published size of a model: its checkpoint and the architecture in that checkpoint's config.json."""

    checkpoint: str = MISSING  # Hub id, or package:NAME/FOLDER
    config: dict[str, Any] = field(default_factory=dict)  # what is known of its config.json without the Hub


@dataclass
class ModelConfig:
    name: str = not_deciding(MISSING)  # in records, reports and the names of folders
    title: str | None = not_deciding(None)  # as papers write it, for people; null: the name
    family: str = MISSING  # bert, roberta, deberta, deberta_v2 (V2 and V3) or xlnet; a checkpoint's config.json decides
    size: str = not_deciding(MISSING)  # which of `sizes`
    sizes: dict[str, SizeConfig] = not_deciding(factory=dict)  # what is published
    checkpoint: str | None = None  # Hub id, folder, or package:NAME/FOLDER; a run: `init_from`; null: as `sizes` says
    revision: str | None = None  # branch, tag or commit of the checkpoint on the Hub
    # where the weights lie now that a checkpoint of trained parameters alone was trained over; null: as it says itself
    base: str | None = not_deciding(None)
    init_from: str | None = None  # another run's folder, or a model's: its weights, without the head if labels differ
    tokenizer: str | None = None  # folder or Hub id; null: the checkpoint's; demo: the demo data's own
    classifier_dropout: float | None = None  # dropout before the classification layer; null: as config.json says
    attention: Attention = not_deciding(Attention.fast)  # how DeBERTas and XLNet compute it; the others have one way
    random_init: bool = False  # random weights instead of a checkpoint's: none are fetched
    config_overrides: dict[str, Any] = field(default_factory=dict)  # entries of config.json: {num_hidden_layers: 2}
    # of weights with a change, as pre-training with gates leaves them, take all but the change
    drop_change: bool = deciding_if_set(False)
    # add a row for each token of the tokenizer that the checkpoint has none for
    resize_embeddings: bool = deciding_if_set(False)


@dataclass
class DataConfig:
    source: DataSource = MISSING  # where the rows of the task come from
    # for glue_dir: the folder that holds CoLA/, MNLI/, …; for squad_dir: train-v1.1.json, …
    dir: str | None = not_deciding(None)
    allow_partial: bool = False  # take train.part.tsv where the full train.tsv is not there; of SQuAD, .part.json
    cache_dir: str | None = not_deciding(None)  # where tokenised data are kept; null: $XDG_CACHE_HOME/gifine
    max_train_rows: int | None = None  # the first n rows of the training set, for a quick look
    max_eval_rows: int | None = None  # the first n rows of each evaluation split
    demo_train_rows: int = 8000  # how many sentences are generated to train on
    demo_eval_rows: int = 1000  # how many to validate on
    demo_seed: int = 0  # another number gives other sentences
    # of pre-training: how many sentences are generated for data=demo; the acceptable half of them is the text
    demo_text_rows: int = deciding_if_set(20_000)
    # of pre-training: texts of one's own, *.txt and *.jsonl, in the place of `source`
    files: list[str] = deciding_if_set(factory=list)
    # of pre-training: the training texts of these tasks, as [cola, rte], from `source`; those in a dev or test set not
    sentences_of: list[str] = deciding_if_set(factory=list)
    held_out: float = deciding_if_set(0.01)  # of pre-training: the share of documents that are not trained on
    across_documents: bool = deciding_if_set(False)  # of pre-training: one example may hold the end of one and the next


@dataclass
class TrainConfig:
    epochs: float = MISSING  # how often the training set is seen; may be a fraction, such as 0.5
    max_steps: int | None = None  # steps of the optimizer; null: as many as `epochs` needs
    # of pre-training, in the place of `epochs`: training ends with the step that has seen so many tokens
    max_tokens: int | None = deciding_if_set(None)
    # of pre-training, in the place of `epochs`: training ends with the step in which it has taken so many seconds,
    # without evaluation; the learning rate falls by time, and no two runs are the same to the bit
    max_seconds: float | None = deciding_if_set(None)
    batch_size: int = MISSING  # examples of a batch, per device
    eval_batch_size: int = MISSING  # of evaluations, per device; with gi.threshold=batch it is part of the result
    gradient_accumulation: int = 1  # batches of one step
    learning_rate: float = MISSING  # the highest one, which the warm-up leads to
    weight_decay: float = MISSING  # of AdamW; not of biases and norms
    warmup: float = MISSING  # of the learning rate; below 1: a fraction of all steps, else a number of steps
    schedule: Schedule = Schedule.linear  # how the learning rate falls after the warm-up
    adam_beta1: float = 0.9  # of AdamW; 0 … 1, below 1
    adam_beta2: float = 0.999  # of AdamW; 0 … 1, below 1
    adam_epsilon: float = MISSING  # of AdamW
    max_grad_norm: float = 1.0  # gradients are clipped to it; 0: not at all
    # in the loss: `balanced`, or a number above 0 for each of task.labels; null: all alike
    class_weights: Any = deciding_if_set(None)
    # of the loss, 0 … 1, below 1: what each label shares with all of them
    label_smoothing: float = deciding_if_set(0.0)
    max_length: int = MISSING  # word pieces, at least 8; longer inputs are cut
    padding: Padding = MISSING  # to which length inputs are filled up
    group_by_length: bool = MISSING  # batches of examples of about the same length
    evaluate: Evaluate = MISSING  # when the evaluation splits are evaluated
    evaluate_steps: int | None = None  # steps between evaluations, with evaluate=steps
    select_best: bool = MISSING  # the checkpoint with the best task.select_by is the result; else the last
    # end training after n evaluations without a better task.select_by; null: never
    patience: int | None = deciding_if_set(None)
    log_steps: int = not_deciding(50)  # loss, learning rate and gradient norm every n steps, in metrics.jsonl
    precision: Precision = Precision.auto  # of the numbers computed with
    gradient_checkpointing: bool = False  # keep one hidden state a layer, compute the rest again: saves memory
    parameters: Parameters = deciding_if_set(Parameters.all)  # which weights train; the others stay as they are
    # which word embeddings are trained; with fsdp all
    embedding_rows: EmbeddingRows = not_deciding(EmbeddingRows.occurring)
    fsdp: bool = False  # shard weights, gradients and optimizer over the processes: for xlarge and xxlarge
    device: Device = not_deciding(Device.auto)  # what is computed on
    save_model: bool = not_deciding(False)  # leave the final weights in the run's folder
    # `predictions-<split>.parquet`: what the report's tests on examples read
    save_predictions: bool = not_deciding(True)
    save_steps: int | None = not_deciding(None)  # a checkpoint every n steps besides those at evaluations
    keep_checkpoints: bool = not_deciding(False)  # what a resume needs stays after the run has finished, too


@dataclass
class TrackingConfig:
    """Where a run can be watched. It decides nothing, and a run is as good without it."""

    name: Tracker = MISSING  # where the run can be watched
    mode: TrackingMode = TrackingMode.online  # how it is reached
    project: str = "gifine"  # the project there
    entity: str | None = None  # user or team; null: the one of the login
    group: str | None = None  # what belongs together; null: the name of output_root, a sweep's folder
    tags: list[str] = field(default_factory=list)  # words to find runs by
    system_metrics: bool = False  # send the machine's load and memory, too
    gate_steps: int | None = 50  # statistics of the change every n steps, at least 1; null: none


@dataclass
class RecipeConfig:
    """Where the values in `train` come from. It decides nothing: the values do."""

    name: str = MISSING  # none, auto, original, or one of pre-training: mlm_*, rtd_*
    source: str | None = None  # where the values were published


@dataclass
class SearchConfig:
    """Random search over hyper-parameters. It decides nothing: the values that it sets in other sections do."""

    trial: int | None = None  # set the keys of `space` to what is drawn for this trial, from 0 on; null: draw nothing
    seed: int = 0  # of the draws; another number gives other trials
    # by key of `train`, or model.classifier_dropout: {low: A, high: B}, with log: true, or {values: [A, B]}
    space: dict[str, Any] = field(default_factory=dict)


@dataclass
class EvaluateConfig:
    split_dev: bool = False  # choose the best checkpoint on one half of the first evaluation split, report the other
    # evaluate in other batches, too, and record how many predictions depend on theirs
    invariance: bool = not_deciding(False)


@dataclass
class FirstConfig:
    """A run on another task that this one starts from: the same model, change, seed and values. It is trained first."""

    task: str | None = None  # a choice of `task`, such as mnli: train on it first, and start from those weights
    # entries of `train` that are others in that run, {epochs: 3}; a grid may have first.task=null beside it
    train: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)  # the same of `data`: {source: glue_dir, dir: FOLDER}
    run: str | None = None  # the run_id of that run, which decides; gifine writes it


@dataclass
class SeedsConfig:
    """What single streams of random numbers start from; null: from `seed`, and the run is the one without the key."""

    # first weights that no checkpoint has; with random_init all but those of the change
    head: int | None = deciding_if_set(None)
    order: int | None = deciding_if_set(None)  # the order of the training examples
    dropout: int | None = deciding_if_set(None)  # what is left out in each step of training
    change: int | None = deciding_if_set(None)  # first weights of the change; a baseline has nothing to draw


@dataclass
class RunConfig:
    model: ModelConfig = field(default_factory=ModelConfig)
    gi: GiConfig = field(default_factory=GiConfig)
    # what is done to attention: its name and its keys, which are below; of one's own the file, too, which gifine finds
    change: dict[str, Any] = field(default_factory=lambda: {"name": GI})
    task: TaskConfig = field(default_factory=TaskConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    recipe: RecipeConfig = not_deciding(factory=RecipeConfig)
    search: SearchConfig = not_deciding(factory=SearchConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    first: FirstConfig = not_deciding(factory=FirstConfig)  # but its run: `sources.contents`
    tracking: TrackingConfig = not_deciding(factory=TrackingConfig)
    seed: int = 42  # of weights, data order and dropout; the change draws from a stream of its own
    seeds: SeedsConfig = field(default_factory=SeedsConfig)
    # of each process, on the CPU: their number moves results by rounding; null: one for each core granted
    threads: int | None = deciding_if_set(None)
    # the same bits again; null: on a CPU, where it is free; a GPU gets slower
    deterministic: bool | None = not_deciding(None)
    # the file that `gifine sweep plan --preregister` wrote: the run notes its hash, and whether the plan has this run
    plan: str | None = not_deciding(None)
    # the folder that `gifine prefetch` filled: read only that, use no network
    prefetch: str | None = not_deciding(None)
    output_root: str = not_deciding("runs")  # where folders of runs go
    output_dir: str | None = not_deciding(None)  # the very folder of one run; null: `<output_root>/<slug>-<run_id>`
    resume: bool = not_deciding(True)  # go on from the last complete checkpoint of an attempt that did not finish
    overwrite: bool = not_deciding(False)  # run again, from the start, although a finished record is there

    @property
    def is_plain(self) -> bool:
        """Whether nothing is changed: the baseline."""
        return self.is_gi and self.gi.side is GateSide.none

    @property
    def is_gi(self) -> bool:
        """Whether `gi` says what is done to attention, be it nothing; else another change does."""
        return self.change["name"] == GI
