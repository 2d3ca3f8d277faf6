"""A training step with frozen weights, beside peft: `python -m benchmarks.frozen`.

LoRA of rank 4 on queries and values of every layer, of models with a few layers of BERT-large's and DeBERTa-v3-large's
shape and random weights; the backbone is frozen, all else trains. Forward, backward, clipping, AdamW and zero_grad, in
turn in one process, 1 thread, CPU time; and the bytes that autograd keeps between forward and backward, weights left
out. The peer is peft on transformers' own model, with the attention that this has by itself. A third row is our step
with all weights trained: what freezing saves. In a DeBERTa peft's LoRA acts on relative positions, too, and here ours.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from peft import LoraConfig, TaskType, get_peft_model
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel, set_seed

from benchmarks import harness, step
from gifine import models
from gifine.choices import Parameters
from gifine.cli import compose, config_from
from gifine.models.speedups import embedding_rows, last_layer

MODELS = ("bert", "debertav3")
TARGETS = {"bert": ["query", "value"], "debertav3": ["query_proj", "value_proj"]}
RANK = 4
QUICK: dict[str, Any] = {"layers": 1, "length": 12, "repetitions": 1, "size": step.TINY}
PEFT, OURS, WHOLE = "peft", "gifine", "gifine, all weights"


def measure(
    layers: int = 4, length: int = 64, repetitions: int = 5, size: dict[str, int] | None = None, device: str = "cpu"
) -> list[harness.Row]:
    torch.set_num_threads(1)
    rows = []
    for name in MODELS:
        contestants: dict[str, Any] = {who: build(who, name, layers, size, device) for who in (PEFT, OURS, WHOLE)}
        ids_BT, labels_B = step.batch(length, device)
        calls = {who: partial(_step(model), ids_BT, labels_B) for who, model in contestants.items()}
        seconds = harness.in_turn(calls, repetitions, harness.clock(device))
        kept = {who: [saved(model, ids_BT, labels_B) / 1e6] for who, model in contestants.items()}
        title = f"LoRA, frozen {name}, {layers} layer{'s' * (layers > 1)}, N={length}"
        counted = {who: sum(each.numel() for each in _trained(model)) for who, model in contestants.items()}
        note = f"{counted[OURS]:,} weights train, of peft's {counted[PEFT]:,}"
        for peer, what in ((PEFT, "against peft"), (WHOLE, "against all weights trained")):
            rows.append(harness.row(f"{title}: a step, {what}", seconds[peer], seconds[OURS], note))
            rows.append(harness.row(f"{title}: saved for backward, {what}", kept[peer], kept[OURS], unit="MB"))
    return rows


def build(who: str, name: str, layers: int, size: dict[str, int] | None = None, device: str = "cpu") -> Any:
    """A contestant in training mode, with dropout as published, but none of LoRA's."""
    set_seed(0)
    changed = "".join(f", {key}: {value}" for key, value in (size or {}).items())
    words = [f"model={name}", "model.size=large", "model.random_init=true", "change=lora", f"change.rank={RANK}"]
    words += [f"model.config_overrides={{num_hidden_layers: {layers}{changed}}}"]
    config = config_from(compose(words))
    if who == PEFT:
        entries = config.model.sizes["large"].config | config.model.config_overrides | {"num_labels": 2}
        plain = models.family_classes(config.model.family).plain_config.from_dict(entries)
        model: Any = AutoModelForSequenceClassification.from_config(plain)
        lora = LoraConfig(task_type=TaskType.SEQ_CLS, r=RANK, lora_alpha=8, target_modules=TARGETS[name])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft calls transformers by names that go in its version 6
            model = get_peft_model(model, lora)
    else:
        parameters = Parameters.all if who == WHOLE else Parameters.change
        model = models.build(config.model, config.gi, config.change, labels=["no", "yes"], parameters=parameters)
        embedding_rows.keep(model, step.word_pieces().tolist())
        last_layer.one_token(model)
    torch.nn.Module.to(model, device)
    return model.train()


def saved(model: PreTrainedModel, ids_BT: Tensor, labels_B: Tensor) -> int:
    forward = partial(model, input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT), labels=labels_B)
    return harness.saved(forward, [*model.parameters(), *model.buffers()])


def _trained(model: PreTrainedModel) -> Sequence[Tensor]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _step(model: PreTrainedModel) -> Any:
    """As `step.step`, of what trains."""
    optimizer = torch.optim.AdamW(_trained(model), lr=1e-4, weight_decay=0.0, fused=True)

    def call(ids_BT: Tensor, labels_B: Tensor) -> None:
        model(input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT), labels=labels_B).loss.backward()
        torch.nn.utils.clip_grad_norm_(_trained(model), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return call


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--length", type=int, default=64, help="N")
    parser.add_argument("--repetitions", type=int, default=5)
    harness.report(measure, parser.parse_args())


if __name__ == "__main__":
    main()
