"""DeBERTa's attention by length, ours and transformers': `python benchmarks/attention.py`.

Forward and backward of one module with dropout, in turn in one process, one thread, process time (with
`--device cuda`: what passes until the GPU is done); and the bytes that the forward keeps for the backward, parameters
and the module's input aside. Of DeBERTa-v3-large the attention alone; of DeBERTa v1 a whole layer, in which
transformers' own LayerNorm has its share. Where the package disentangled-flash is installed, its path without Triton is
another peer.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.models.deberta import modeling_deberta as v1
from transformers.models.deberta_v2 import modeling_deberta_v2 as v2

from gifine.config import Attention
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
MEASURED = (("deberta_v2", "DeBERTa-v3-large attention", 512), ("deberta", "DeBERTa v1 layer", 256))  # up to a length


def measure(
    shapes: tuple[tuple[int, int], ...] = SHAPES, repetitions: int = 9, device: str = "cpu"
) -> list[dict[str, Any]]:
    """One row for each shape of DeBERTa-v3-large's attention and each peer, and of DeBERTa v1's layer up to 256."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    for family, what, longest in MEASURED:
        ours, peers = _modules(family, device)
        for length, batch in shapes:
            if length > longest:
                continue
            inputs = _inputs(family, length, batch, device)
            steps = [_step(module, inputs, device) for module in (ours, *peers.values())]
            for step in steps:
                step()
            seconds = [[step() for step in steps] for _ in range(repetitions)]
            held, *others_held = (_held(module, inputs) for module in (ours, *peers.values()))
            for index, (peer, peer_held) in enumerate(zip(peers, others_held, strict=True), start=1):
                ratios = [row[index] / row[0] for row in seconds]
                rows.append(
                    {
                        "name": f"{what}, N={length}, batch {batch}, vs {peer}",
                        "peer": statistics.median(row[index] for row in seconds),
                        "ours": statistics.median(row[0] for row in seconds),
                        "ratio": statistics.median(ratios),
                        "low": min(ratios),
                        "high": max(ratios),
                        "note": f"saved tensors {held / peer_held:.3f} of {peer_held / 2**20:.1f} MB",
                    }
                )
    return rows


def _modules(family: str, device: str) -> tuple[Any, dict[str, Any]]:
    """Ours and, by name, its peers with the same weights, out of whole models as runs have them."""
    v3: dict[str, Any] = {"share_att_key": True, "position_buckets": 256, "norm_rel_ebd": "layer_norm"}
    classes = family_classes(family)
    config = classes.plain_config(**LARGE, **(v3 if family == "deberta_v2" else {}))
    models = {"ours": classes.plain_classifier(config), "transformers": classes.plain_classifier(config)}
    with_attention(models["ours"], Attention.fast)
    if family == "deberta_v2" and find_spec("disentangled_flash") is not None:
        optimize: Any = import_module("disentangled_flash").optimize_deberta_training
        models["disentangled-flash"] = classes.plain_classifier(config)
        optimize(models["disentangled-flash"].base_model, backend="torch")
    for model in models.values():
        model.load_state_dict(models["ours"].state_dict())
    place = "deberta.encoder.layer.0" + (".attention.self" if family == "deberta_v2" else "")
    modules = {name: model.get_submodule(place).to(device).train() for name, model in models.items()}
    return modules.pop("ours"), modules


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


def _step(module: nn.Module, inputs: Inputs, device: str) -> Callable[[], float]:
    grad_BTD = torch.randn_like(inputs.hidden_BTD)
    clock = time.perf_counter if device == "cuda" else time.process_time

    def seconds() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        start = clock()
        inputs.forward(module).backward(grad_BTD)
        if device == "cuda":
            torch.cuda.synchronize()
        taken = clock() - start
        inputs.hidden_BTD.grad = inputs.rel_embeddings_RD.grad = None
        module.zero_grad()
        return taken

    return seconds


def _held(module: nn.Module, inputs: Inputs) -> int:
    """Bytes that the forward keeps, once each; its input and the parameters are there in any case."""
    given = (*module.parameters(), inputs.hidden_BTD, inputs.rel_embeddings_RD)
    there = {tensor.untyped_storage().data_ptr() for tensor in given}
    held: dict[int, Tensor] = {}  # the tensors themselves, so that none has the place of one that is gone

    def keep(tensor: Tensor) -> Tensor:
        if (place := tensor.untyped_storage().data_ptr()) not in there:
            held[place] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        inputs.forward(module)
    return sum(tensor.untyped_storage().nbytes() for tensor in held.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--lengths", type=int, nargs="+", default=[length for length, _ in SHAPES])
    args = parser.parse_args()
    shapes = tuple((length, batch) for length, batch in SHAPES if length in args.lengths)
    print(f"torch {torch.__version__}, {args.device}, the peer's seconds / ours, {args.repetitions} repetitions")
    for row in measure(shapes, args.repetitions, args.device):
        print(
            f"{row['name']:<70} {row['peer']:.4f} s  {row['ours']:.4f} s  "
            f"{row['ratio']:.2f} ({row['low']:.2f} … {row['high']:.2f})  {row['note']}",
            flush=True,
        )


if __name__ == "__main__":
    main()
