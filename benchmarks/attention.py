"""DeBERTa's attention, fast and transformers' own, by length: `python benchmarks/attention.py`.

Forward and backward of one module with dropout, in turn in one process, one thread, process time (with
`--device cuda`: what passes until the GPU is done); and the bytes that the forward keeps for the backward, parameters
and the module's input aside. Of DeBERTa-v3-large the attention alone; of DeBERTa v1 a whole layer, in which
transformers' own LayerNorm has its share.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

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
    """One row for each shape of DeBERTa-v3-large's attention, and of DeBERTa v1's layer up to 256."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    for family, what, longest in (
        ("deberta_v2", "DeBERTa-v3-large attention", 512),
        ("deberta", "DeBERTa v1 layer", 256),
    ):
        peer, ours = _modules(family, device)
        for length, batch in shapes:
            if length > longest:
                continue
            steps = [_step(family, module, length, batch, device) for module in (peer, ours)]
            for step in steps:
                step()
            pairs = [(steps[0](), steps[1]()) for _ in range(repetitions)]
            ratios = [theirs / mine for theirs, mine in pairs]
            held = [_held(family, module, length, batch, device) for module in (peer, ours)]
            rows.append(
                {
                    "name": f"{what}, N={length}, batch {batch}",
                    "peer": statistics.median(theirs for theirs, _ in pairs),
                    "ours": statistics.median(mine for _, mine in pairs),
                    "ratio": statistics.median(ratios),
                    "low": min(ratios),
                    "high": max(ratios),
                    "note": f"forward and backward; saved tensors {held[1] / held[0]:.3f} of {held[0] / 2**20:.1f} MB",
                }
            )
    return rows


def _modules(family: str, device: str) -> tuple[Any, Any]:
    """transformers' module and the fast one with the same weights, out of whole models as runs have them."""
    v3: dict[str, Any] = {"share_att_key": True, "position_buckets": 256, "norm_rel_ebd": "layer_norm"}
    classes = family_classes(family)
    config = classes.plain_config(**LARGE, **(v3 if family == "deberta_v2" else {}))
    peer, ours = classes.plain_classifier(config), classes.plain_classifier(config)
    ours.load_state_dict(peer.state_dict())
    with_attention(ours, Attention.fast)
    place = "deberta.encoder.layer.0" + (".attention.self" if family == "deberta_v2" else "")
    modules = [model.get_submodule(place).to(device).train() for model in (peer, ours)]
    return modules[0], modules[1]


def _inputs(family: str, length: int, batch: int, device: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    hidden_BTD = torch.randn(batch, length, 1024, device=device, requires_grad=True)
    rel_embeddings_RD = torch.randn(1024 if family == "deberta" else 512, 1024, device=device, requires_grad=True)
    mask_B1TT = torch.ones(batch, 1, length, length, dtype=torch.long, device=device)
    if family == "deberta_v2":
        relative_pos = v2.build_relative_position(hidden_BTD, hidden_BTD, 256, 512)
    else:
        relative_pos = v1.build_relative_position(hidden_BTD, hidden_BTD)
    return hidden_BTD, rel_embeddings_RD, mask_B1TT, relative_pos


def _step(family: str, module: nn.Module, length: int, batch: int, device: str) -> Callable[[], float]:
    hidden_BTD, rel_embeddings_RD, mask_B1TT, relative_pos = _inputs(family, length, batch, device)
    grad_BTD = torch.randn_like(hidden_BTD)

    def seconds() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        clock = time.perf_counter if device == "cuda" else time.process_time
        start = clock()
        context_BTD, _ = module(hidden_BTD, mask_B1TT, relative_pos=relative_pos, rel_embeddings=rel_embeddings_RD)
        context_BTD.backward(grad_BTD)
        if device == "cuda":
            torch.cuda.synchronize()
        taken = clock() - start
        hidden_BTD.grad = rel_embeddings_RD.grad = None
        module.zero_grad()
        return taken

    return seconds


def _held(family: str, module: nn.Module, length: int, batch: int, device: str) -> int:
    """Bytes that the forward keeps, once each; its input and the parameters are there in any case."""
    hidden_BTD, rel_embeddings_RD, mask_B1TT, relative_pos = _inputs(family, length, batch, device)
    there = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), hidden_BTD, rel_embeddings_RD)}
    held: dict[int, Tensor] = {}  # the tensors themselves, so that none has the place of one that is gone

    def keep(tensor: Tensor) -> Tensor:
        if (place := tensor.untyped_storage().data_ptr()) not in there:
            held[place] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        module(hidden_BTD, mask_B1TT, relative_pos=relative_pos, rel_embeddings=rel_embeddings_RD)
    return sum(tensor.untyped_storage().nbytes() for tensor in held.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--lengths", type=int, nargs="+", default=[length for length, _ in SHAPES])
    args = parser.parse_args()
    shapes = tuple((length, batch) for length, batch in SHAPES if length in args.lengths)
    print(f"torch {torch.__version__}, {args.device}, transformers' seconds / ours, {args.repetitions} pairs")
    for row in measure(shapes, args.repetitions, args.device):
        print(
            f"{row['name']:<44} {row['peer']:.4f} s  {row['ours']:.4f} s  "
            f"{row['ratio']:.2f} ({row['low']:.2f} … {row['high']:.2f})  {row['note']}",
            flush=True,
        )


if __name__ == "__main__":
    main()
