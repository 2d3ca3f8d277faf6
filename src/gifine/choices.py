"""The values that a config key may have, where these are a few words: each an Enum, told in docs/configuration.md."""

from __future__ import annotations

from enum import Enum


class GateSide(Enum):
    none = "none"  # nowhere: the plain model, the baseline
    key = "key"
    query = "query"
    both = "both"


class GateThreshold(Enum):
    batch = "batch"  # one number a batch, as published
    sequence = "sequence"  # one an example
    token = "token"  # one a position  # noqa: S105 - not a password


class GateInit(Enum):
    normal = "normal"  # N(0, initializer_range), bias 0: the published one
    identity = "identity"  # `select` starts at zero, so the gate starts at exactly 1


class Attention(Enum):
    fast = "fast"  # the same results to rounding, in less time and memory
    hf = "hf"  # transformers' own


class EmbeddingRows(Enum):
    occurring = "occurring"  # those in the task's data; the result is the same
    all = "all"  # those of the whole vocabulary


class Parameters(Enum):
    all = "all"  # all of them
    change = "change"  # those of the change to attention; with the head, and what the checkpoint does not have
    bias = "bias"  # all biases (BitFit, arXiv 2106.10199); with change, head, and what the checkpoint does not have


# How people read it: as the name of a plain model's arm, and behind the name of a change.
TRAINED = {Parameters.change: ("head only", "trained alone"), Parameters.bias: ("biases only", "with biases")}


class Objective(Enum):
    classification = "classification"  # a label for one or two texts; without `labels` a number
    questions = "questions"  # the answer to a question as a part of a context, as in SQuAD
    mlm = "mlm"  # pre-training: the words of a text that are masked
    rtd = "rtd"  # pre-training: which words of a text a generator has replaced (ELECTRA, DeBERTaV3)

    @property
    def pretrains(self) -> bool:
        """Whether it learns from a text alone, so that its data are a corpus, and others start from its weights."""
        return self in (Objective.mlm, Objective.rtd)


class Sharing(Enum):
    gdes = "gdes"  # the discriminator adds what it learns to the generator's, which it does not change: DeBERTaV3
    shared = "shared"  # one table, which learns from both: ELECTRA
    none = "none"  # each its own


class Part(Enum):
    both = "both"
    generator = "generator"
    discriminator = "discriminator"


class DataSource(Enum):
    hub = "hub"  # the Hugging Face Hub, or its local cache
    glue_dir = "glue_dir"  # GLUE's official files, in data.dir
    squad_dir = "squad_dir"  # SQuAD's official files, in data.dir
    demo = "demo"  # generated sentences, for task=demo
    files = "files"  # what a record says where task.files names one's own; nobody has to give it

    @property
    def is_official(self) -> bool:
        """Files as their authors lay them out, below data.dir."""
        return self in (DataSource.glue_dir, DataSource.squad_dir)


class Quoting(Enum):
    auto = "auto"  # what the file alone allows; a file that could be read both ways is refused
    none = "none"  # text, as in GLUE's own files: a cell is what stands between two delimiters
    standard = "standard"  # a cell that begins with a quote ends with one, and has its own quotes twice


class Padding(Enum):
    dynamic = "dynamic"  # to the longest of the batch
    max_length = "max_length"  # always to train.max_length, as run_glue.py does by default


class Precision(Enum):
    auto = "auto"  # bf16 on a GPU that has it, else fp32
    fp32 = "fp32"
    bf16 = "bf16"  # computed in bfloat16; weights and optimizer stay float32


class Schedule(Enum):
    linear = "linear"  # down to 0
    cosine = "cosine"  # down to 0
    constant = "constant"  # as high as after the warm-up


class Evaluate(Enum):
    epoch = "epoch"  # after each epoch
    steps = "steps"  # every evaluate_steps steps
    end = "end"  # once, after the last step


class Device(Enum):
    auto = "auto"  # a GPU if there is one
    cpu = "cpu"


class Tracker(Enum):
    off = "off"  # record.json, metrics.jsonl and run.log alone
    wandb = "wandb"  # Weights & Biases, too


class TrackingMode(Enum):
    online = "online"  # sent while the run trains
    offline = "offline"  # files, for `gifine sync`
    disabled = "disabled"  # nothing is sent or written
