"""What gates cost a layer of BERT-large: `python benchmarks/gates.py`.

Encoders of one layer and of a few, in training: transformers' own, ours with gates on both sides of every layer, and
the same gates as they were published (`select` computed twice, autograd's derivatives). Forward and backward pass, in
turn in one process; a ratio is that of neighbours, and shown as median (lowest … highest). Saved activations are what
autograd keeps between the two passes, parameters left out.

With d = 1024 the matrix products of a layer are 12 d² a token without gates and 16 d² with them, attention's own left
out: a gated layer that spends its time on nothing else takes 1.33 times as long.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from gifine import cli, models
from gifine.config import GateSide
from gifine.models._gates import GatedAttention

SHAPES = ((12, 8), (32, 8), (64, 16), (128, 4), (256, 2))  # tokens, examples
HIDDEN = 1024
MEANING = "gated / plain, lower is better"


def published(
    attention: GatedAttention, side: str, projected_BTK: Tensor, hidden_BTD: Tensor, real_BT: Tensor | None
) -> Tensor:
    """`GatedAttention.gated` as the authors' code computes it."""
    inhibition, select = (attention.get_submodule(f"{part}_{side}") for part in ("inhibition", "select"))
    inner_BTI = F.gelu(inhibition(hidden_BTD))
    gate_BTK = F.gelu(select(inner_BTI) - attention.gate_level * select(inner_BTI).max()) + 1
    return gate_BTK * projected_BTK


def encoder(side: GateSide, layers: int, device: str) -> nn.Module:
    sizes = f"{{num_hidden_layers: {layers}, vocab_size: 8}}"
    words = ["model=bert", "model.size=large", "model.random_init=true", f"model.config_overrides={sizes}"]
    config = cli.config_from(cli.compose([*words, f"gi={side.value}", "gi.level=0.3"]))
    torch.manual_seed(0)
    model: Any = models.build(config.model, config.gi, labels=["no", "yes"])
    assert model.config.hidden_size == HIDDEN
    return model.base_model.encoder.to(device).train()


def step(module: Any, hidden_BTD: Tensor) -> Tensor:
    return module(hidden_BTD).last_hidden_state.sum()


def seconds(module: nn.Module, hidden_BTD: Tensor) -> float:
    module.zero_grad()
    cuda = hidden_BTD.is_cuda
    clock = time.perf_counter if cuda else time.process_time
    if cuda:
        torch.cuda.synchronize()
    start = clock()
    step(module, hidden_BTD).backward()
    if cuda:
        torch.cuda.synchronize()
    return clock() - start


def saved_megabytes(module: nn.Module, hidden_BTD: Tensor) -> float:
    """Each storage counts once; what is kept is alive until the end, so that no address comes twice."""
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = step(module, hidden_BTD)
    for parameter in module.parameters():
        found.pop(parameter.untyped_storage().data_ptr(), None)
    del loss
    return sum(found.values()) / 1e6


def row(name: str, peer: Sequence[float], ours: Sequence[float], note: str, unit: str = "s") -> dict[str, Any]:
    ratios = [own / other for own, other in zip(ours, peer, strict=True)]
    return {
        "name": name,
        "peer": statistics.median(peer),
        "ours": statistics.median(ours),
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "unit": unit,
        "meaning": MEANING,
        "note": note,
    }


def measure(
    layers: Sequence[int] = (3,),
    repetitions: int = 5,
    device: str = "cpu",
    shapes: Sequence[tuple[int, int]] = SHAPES,
) -> list[dict[str, Any]]:
    """A row for each number of layers, shape (tokens, examples), form of the gates, and kind of cost.

    Short steps are repeated up to three times as often: they scatter more.
    """
    torch.set_num_threads(1)
    rows = []
    for depth in layers:
        plain, gated, as_published = (
            encoder(side, depth, device) for side in (GateSide.none, GateSide.both, GateSide.both)
        )
        for module in as_published.modules():
            if isinstance(module, GatedAttention):
                module.gated = MethodType(published, module)  # pyrefly: ignore[bad-assignment] - the peer's, in its place
        contenders = (plain, gated, as_published)
        for tokens, examples in shapes:
            hidden_BTD = torch.randn(examples, tokens, HIDDEN, device=device, requires_grad=True)
            repeats = repetitions * max(1, min(3, 1024 // (tokens * examples)))
            for module in contenders:
                seconds(module, hidden_BTD)
            times = [[seconds(module, hidden_BTD) for module in contenders] for _ in range(repeats)]
            of_plain, of_gated, of_published = zip(*times, strict=True)
            kept = [saved_megabytes(module, hidden_BTD) for module in contenders]
            name = f"BERT-large, {depth} layer{'s' * (depth > 1)}, N={tokens}, batch {examples}"
            rows += [
                row(f"{name}: GI both", of_plain, of_gated, "forward and backward"),
                row(f"{name}: published GI", of_plain, of_published, "forward and backward"),
                row(f"{name}: GI both, saved", kept[:1], kept[1:2], "saved activations", "MB"),
                row(f"{name}: published GI, saved", kept[:1], kept[2:], "saved activations", "MB"),
            ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, nargs="+", default=[3])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    args = parser.parse_args()
    print(MEANING)
    print(f"{'':58}{'plain':>9}{'gated':>9}  ratio")
    for each in measure(args.layers, args.repetitions, args.device):
        spread = f"{each['ratio']:.3f} ({each['low']:.3f} … {each['high']:.3f})"
        print(f"{each['name']:58}{each['peer']:9.3f}{each['ours']:9.3f}  {spread}  {each['note']}")


if __name__ == "__main__":
    main()
