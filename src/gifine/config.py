"""The config's schema: what each YAML key under conf/ may hold.

Plain dataclasses: Hydra composes conf/ over them, `cli.py` turns the result into one `RunConfig`, and everything
below works with that. Values that depend on each other are checked in `compose/checks.py`, since OmegaConf runs a
dataclass's own checks while fields still are '???'.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING

if TYPE_CHECKING:
    Text = str
else:  # OmegaConf would turn YAML's `no` and `1.0` into text; compose/composition.py refuses them
    Text = Any

DEMO = "demo"  # the task, the data and the tokenizer that gifine generates itself

BALANCED = "balanced"  # of train.class_weights: each class as heavy as the others, in the training set


class GateSide(Enum):
    none = "none"
    key = "key"
    query = "query"
    both = "both"


class GateThreshold(Enum):
    """Over what the maximum of the inhibition signal is taken."""

    batch = "batch"  # one scalar a batch: the published formula
    sequence = "sequence"  # one an example
    token = "token"  # one a position  # noqa: S105 - not a password


class GateInit(Enum):
    normal = "normal"  # N(0, initializer_range), bias 0: the published one
    identity = "identity"  # `select` starts at zero, so the gate starts at exactly 1


class Attention(Enum):
    """Of DeBERTas; the other families have one."""

    fast = "fast"  # the same results to rounding, in less time and memory
    hf = "hf"  # transformers' own


class EmbeddingRows(Enum):
    occurring = "occurring"  # in the task's data: others are left out of training, which changes nothing
    all = "all"


class DataSource(Enum):
    hub = "hub"
    glue_dir = "glue_dir"
    demo = "demo"
    files = "files"  # one's own: what a record says where task.files names them


class Quoting(Enum):
    """What a quote at the start of a cell is, in csv and tsv files of one's own."""

    auto = "auto"  # what the file alone allows; where it allows both, it is refused
    none = "none"  # text: cells are what stands between delimiters, as in GLUE's own files
    standard = "standard"  # it opens a cell that ends with a quote, in which quotes are written twice


class Padding(Enum):
    dynamic = "dynamic"  # to the longest of the batch
    max_length = "max_length"  # always to train.max_length, as run_glue.py does by default


class Precision(Enum):
    auto = "auto"  # bf16 on a GPU that has it, else fp32
    fp32 = "fp32"
    bf16 = "bf16"


class Schedule(Enum):
    linear = "linear"
    cosine = "cosine"
    constant = "constant"  # after the warm-up


class Evaluate(Enum):
    epoch = "epoch"
    steps = "steps"  # every train.evaluate_steps
    end = "end"  # once, after the last step


class Device(Enum):
    auto = "auto"
    cpu = "cpu"


@dataclass
class GiConfig:
    """Gate with Inhibition (arXiv 2208.00929)."""

    side: GateSide = MISSING
    level: float = MISSING  # λ: the threshold as a fraction of the maximum; published grid 0, 0.1, 0.3, 0.9
    layers: int | None = None  # gate the last n layers; null: all
    threshold: GateThreshold = GateThreshold.batch
    mask_padding: bool = False  # leave padding out of the maximum
    init: GateInit = GateInit.normal


@dataclass
class SizeConfig:
    """One published size of a model: its checkpoint and the architecture in that checkpoint's config.json."""

    checkpoint: str = MISSING  # Hub id
    config: dict[str, Any] = field(default_factory=dict)


@dataclass
class ModelConfig:
    name: str = MISSING
    title: str | None = None  # as papers write it, for people; null: the name
    family: str = MISSING  # a file in src/gifine/models/families
    size: str = MISSING  # a key of `sizes`
    sizes: dict[str, SizeConfig] = field(default_factory=dict)
    checkpoint: str | None = None  # Hub id or local folder; null: what `sizes` names
    revision: str | None = None  # branch, tag or commit on the Hub
    init_from: str | None = None  # another run's folder, or a model's: its weights, without the head if labels differ
    tokenizer: str | None = None  # folder or Hub id; null: the checkpoint's; `demo`: the demo data's own
    classifier_dropout: float | None = None  # before the classification layer; null: as config.json says
    attention: Attention = Attention.fast  # of DeBERTas: how it is computed
    random_init: bool = False  # random weights: nothing is fetched
    config_overrides: dict[str, Any] = field(default_factory=dict)  # entries of the model's config.json
    resize_embeddings: bool = False  # add a row for each token of the tokenizer that the checkpoint has none for


@dataclass
class HubConfig:
    path: str | None = None
    name: str | None = None


@dataclass
class SplitConfig:
    """Where a split is: its name on the Hub, and its file in the official directory layout."""

    hub: str | None = None
    tsv: str | None = None  # below data.dir
    hub_name: str | None = None  # the Hub's config where it is not task.hub.name
    header: bool = True
    submission: str | None = None  # the file that GLUE's server takes this test split's predictions in
    columns: dict[str, Text] = field(default_factory=dict)  # our column: its header, or its 0-based position if none


@dataclass
class FilesConfig:
    """One's own csv, tsv, json or jsonl files, with the columns that `inputs` and `label` name."""

    train: str | None = None
    validation: str | None = None
    test: str | None = None
    quoting: Quoting = Quoting.auto  # of csv and tsv


@dataclass
class TaskConfig:
    name: str = MISSING
    title: str | None = None  # as papers write it, for people; null: the name
    inputs: list[Text] = MISSING  # one or two text columns
    label: str = "label"
    labels: list[Text] = field(default_factory=list)  # in the order of their ids; empty: regression
    metrics: list[Text] = MISSING  # names in metrics.py
    select_by: str = MISSING  # the one of `metrics` that chooses the best checkpoint
    hub: HubConfig = field(default_factory=HubConfig)
    splits: dict[str, SplitConfig] = field(default_factory=dict)
    train_split: str = "train"
    evaluation_splits: list[Text] = field(default_factory=lambda: ["validation"])
    test_splits: list[Text] = field(default_factory=lambda: ["test"])
    submission_labels: list[Text] = field(default_factory=list)  # what a submission calls `labels`; empty: their names
    submission_range: list[float] = field(default_factory=list)  # a regression's lowest and highest; empty: any number
    skip_short_rows: bool = False  # official QQP has rows with missing columns; elsewhere they are an error
    files: FilesConfig = field(default_factory=FilesConfig)


@dataclass
class DataConfig:
    source: DataSource = MISSING
    dir: str | None = None  # for glue_dir: the folder that holds CoLA/, MNLI/, …
    allow_partial: bool = False  # take train.part.tsv where the full train.tsv is not there
    cache_dir: str | None = None  # tokenised data; null: $XDG_CACHE_HOME/gifine
    max_train_rows: int | None = None  # the first n rows, for a quick look
    max_eval_rows: int | None = None
    demo_train_rows: int = 8000
    demo_eval_rows: int = 1000
    demo_seed: int = 0


@dataclass
class TrainConfig:
    epochs: float = MISSING
    max_steps: int | None = None  # null: as many as `epochs` needs
    batch_size: int = MISSING  # per device
    eval_batch_size: int = MISSING  # per device; with gi.threshold=batch it is part of the result
    gradient_accumulation: int = 1  # batches a step
    learning_rate: float = MISSING
    weight_decay: float = MISSING
    warmup: float = MISSING  # below 1: a fraction of all steps, else steps
    schedule: Schedule = Schedule.linear
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = MISSING
    max_grad_norm: float = 1.0
    class_weights: Any = None  # in the loss: `balanced`, or a number for each of task.labels; null: all alike
    label_smoothing: float = 0.0  # of the loss: what each label shares with all of them
    max_length: int = MISSING  # word pieces; longer inputs are cut
    padding: Padding = MISSING
    group_by_length: bool = MISSING
    evaluate: Evaluate = MISSING
    evaluate_steps: int | None = None
    select_best: bool = MISSING  # keep the checkpoint with the best task.select_by; else the last
    patience: int | None = None  # end training after so many evaluations without a better task.select_by
    log_steps: int = 50
    precision: Precision = Precision.auto
    gradient_checkpointing: bool = False
    embedding_rows: EmbeddingRows = EmbeddingRows.occurring  # that are trained; with fsdp it is all
    fsdp: bool = False  # shard weights, gradients and optimizer over the processes: for xlarge and xxlarge
    device: Device = Device.auto
    save_model: bool = False  # leave the final weights in the run's folder
    save_predictions: bool = True
    save_steps: int | None = None  # checkpoints besides those at evaluations
    keep_checkpoints: bool = False  # what a resume needs stays after success, too


class Tracker(Enum):
    off = "off"
    wandb = "wandb"


class TrackingMode(Enum):
    online = "online"
    offline = "offline"
    disabled = "disabled"  # nothing is sent or written


@dataclass
class TrackingConfig:
    """Where a run can be watched. It decides nothing, and a run is as good without it."""

    name: Tracker = MISSING
    mode: TrackingMode = TrackingMode.online
    project: str = "gifine"
    entity: str | None = None  # user or team; null: the one of the login
    group: str | None = None  # what belongs together; null: the name of output_root, a sweep's folder
    tags: list[str] = field(default_factory=list)
    system_metrics: bool = False  # load and memory of the machine
    gate_steps: int | None = 50  # statistics of each gate every n steps; null: none


@dataclass
class RecipeConfig:
    """Where the values in `train` come from. It decides nothing: the values do."""

    name: str = MISSING
    source: str | None = None


@dataclass
class EvaluateConfig:
    split_dev: bool = False  # choose the best checkpoint on one half of the first evaluation split, report the other
    invariance: bool = False  # evaluate in other batches, too, and record how many predictions depend on theirs


@dataclass
class RunConfig:
    model: ModelConfig = field(default_factory=ModelConfig)
    gi: GiConfig = field(default_factory=GiConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    seed: int = 42
    deterministic: bool | None = None  # the same bits again; null: on a CPU, where it costs nothing
    prefetch: str | None = None  # the folder that `python -m gifine.prefetch` filled: read only that, use no network
    output_root: str = "runs"
    output_dir: str | None = None  # null: <output_root>/<readable slug>-<run_id>
    resume: bool = True  # go on from the last complete checkpoint of an attempt that did not finish
    overwrite: bool = False  # run again, from the start, although a finished record is there
