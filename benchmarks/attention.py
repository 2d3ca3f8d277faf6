"""DeBERTa's attention by length, ours and transformers': `python -m benchmarks.attention`.

Forward and backward of one module with dropout, in turn in one process, one thread, process time (with
`--device cuda`: what passes until the GPU is done); and the bytes that the forward keeps for the backward, parameters
and the module's input aside. Of DeBERTa-v3-large the attention alone; of DeBERTa v1 a whole layer, in which
transformers' own LayerNorm has its share. Where the package disentangled-flash is installed, its path without Triton is
another peer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.models.deberta import modeling_deberta as v1
from transformers.models.deberta_v2 import modeling_deberta_v2 as v2

from benchmarks import harness
from gifine.choices import Attention
from gifine.models import family_classes, with_attention

LARGE: dict[str, Any] = {
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "num_hidden_layers": 1,
    "max_position_embeddings": 512,
    "relative_attention": True,
    "max_relative_positions": -1,
    "pos_att_type": ["c2p", "p2c"],
    "vocab_size": 8,
    "type_vocab_size": 0,
}
SHAPES = ((16, 16), (32, 16), (64, 8), (128, 8), (256, 4), (512, 2))  # length, batch
OURS = "ours"
MEASURED = (("deberta_v2", "DeBERTa-v3-large attention", 512), ("deberta", "DeBERTa v1 layer", 256))  # up to a length


def measure(shapes: Sequence[tuple[int, int]] = SHAPES, repetitions: int = 9, device: str = "cpu") -> list[harness.Row]:
    """One row for each shape of DeBERTa-v3-large's attention and each peer, and of DeBERTa v1's layer up to 256."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    for family, what, longest in MEASURED:
        modules = _modules(family, device)
        for length, batch in shapes:
            if length > longest:
                continue
            inputs = _inputs(family, length, batch, device)
            grad_BTD = torch.randn_like(inputs.hidden_BTD)
            calls = {name: partial(_step, module, inputs, grad_BTD) for name, module in modules.items()}
            seconds = harness.in_turn(calls, repetitions, harness.clock(device))
            held = {name: _held(module, inputs) for name, module in modules.items()}
            for peer in [name for name in modules if name != OURS]:
                title = f"{what}, N={length}, batch {batch}, vs {peer}"
                note = f"saved tensors {held[OURS] / held[peer]:.3f} of {held[peer] / 2**20:.1f} MB"
                rows.append(harness.row(title, seconds[peer], seconds[OURS], note))
    return rows


def _modules(family: str, device: str) -> dict[str, nn.Module]:
    """Ours and its peers, with the same weights, out of whole models as runs have them."""
    v3: dict[str, Any] = {"share_att_key": True, "position_buckets": 256, "norm_rel_ebd": "layer_norm"}
    classes = family_classes(family)
    config = classes.plain_config(**LARGE, **(v3 if family == "deberta_v2" else {}))
    models = {OURS: classes.plain_classifier(config), "transformers": classes.plain_classifier(config)}
    with_attention(models[OURS], Attention.fast)
    if family == "deberta_v2" and find_spec("disentangled_flash") is not None:
        optimize: Any = import_module("disentangled_flash").optimize_deberta_training
        models["disentangled-flash"] = classes.plain_classifier(config)
        optimize(models["disentangled-flash"].base_model, backend="torch")
    for model in models.values():
        model.load_state_dict(models[OURS].state_dict())
    place = "deberta.encoder.layer.0" + (".attention.self" if family == "deberta_v2" else "")
    return {name: model.get_submodule(place).to(device).train() for name, model in models.items()}


class Inputs(NamedTuple):
    hidden_BTD: Tensor
    rel_embeddings_RD: Tensor
    mask_B1TT: Tensor
    relative_pos_1TT: Tensor

    def forward(self, module: nn.Module) -> Tensor:
        if type(module).__module__.startswith("disentangled_flash"):  # which finds relative positions itself
            mask, relative_pos = self.mask_B1TT[:, 0, 0], None
        else:
            mask, relative_pos = self.mask_B1TT, self.relative_pos_1TT
        return module(self.hidden_BTD, mask, relative_pos=relative_pos, rel_embeddings=self.rel_embeddings_RD)[0]


def _inputs(family: str, length: int, batch: int, device: str) -> Inputs:
    hidden_BTD = torch.randn(batch, length, 1024, device=device, requires_grad=True)
    rel_embeddings_RD = torch.randn(1024 if family == "deberta" else 512, 1024, device=device, requires_grad=True)
    mask_B1TT = torch.ones(batch, 1, length, length, dtype=torch.long, device=device)
    if family == "deberta_v2":
        return Inputs(
            hidden_BTD, rel_embeddings_RD, mask_B1TT, v2.build_relative_position(hidden_BTD, hidden_BTD, 256, 512)
        )
    return Inputs(hidden_BTD, rel_embeddings_RD, mask_B1TT, v1.build_relative_position(hidden_BTD, hidden_BTD))


def _step(module: nn.Module, inputs: Inputs, grad_BTD: Tensor) -> None:
    inputs.forward(module).backward(grad_BTD)
    inputs.hidden_BTD.grad = inputs.rel_embeddings_RD.grad = None
    module.zero_grad()


def _held(module: nn.Module, inputs: Inputs) -> int:
    given = (*module.parameters(), inputs.hidden_BTD, inputs.rel_embeddings_RD)  # there in any case
    return harness.saved(partial(inputs.forward, module), given)


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--lengths", type=int, nargs="+", default=[length for length, _ in SHAPES])
    args = parser.parse_args()
    lengths = vars(args).pop("lengths")
    args.shapes = [shape for shape in SHAPES if shape[0] in lengths]
    harness.report(measure, args)


if __name__ == "__main__":
    main()
