"""What gates cost a layer of BERT-large: `python -m benchmarks.gates`.

Encoders of one layer and of a few, in training: transformers' own, ours with gates on both sides of every layer, and
the same gates as they were published (`select` computed twice, autograd's derivatives). Forward and backward pass, in
turn in one process. Saved activations are what autograd keeps between the two passes, parameters left out.

With d = 1024 the matrix products of a layer are 12 d² a token without gates and 16 d² with them, attention's own left
out: a gated layer that spends its time on nothing else takes 1.33 times as long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from benchmarks import harness
from gifine import cli, models
from gifine.changes.contract import At
from gifine.choices import GateSide
from gifine.models.changed import at_work

SHAPES = ((12, 8), (32, 8), (64, 16), (128, 4), (256, 2))  # tokens, examples
HIDDEN = 1024


def published(settings: Any, parameters: Mapping[str, Tensor], value_BTK: Tensor, at: At) -> Tensor:
    """`apply` of `changes/gi.py` as the authors' code computes it."""
    select = parameters["select.weight"], parameters["select.bias"]
    inner_BTI = F.gelu(F.linear(at.hidden, parameters["inhibition.weight"], parameters["inhibition.bias"]))
    gate_BTK = F.gelu(F.linear(inner_BTI, *select) - settings.level * F.linear(inner_BTI, *select).max()) + 1
    return gate_BTK * value_BTK


def encoder(side: GateSide, layers: int, device: str) -> nn.Module:
    sizes = f"{{num_hidden_layers: {layers}, vocab_size: 8}}"
    words = ["model=bert", "model.size=large", "model.random_init=true", f"model.config_overrides={sizes}"]
    config = cli.config_from(cli.compose([*words, f"gi={side.value}", "gi.level=0.3"]))
    torch.manual_seed(0)
    model: Any = models.build(config.model, config.gi, labels=["no", "yes"])
    assert model.config.hidden_size == HIDDEN
    return model.base_model.encoder.to(device).train()


def step(module: Any, hidden_BTD: Tensor) -> None:
    module.zero_grad()
    module(hidden_BTD).last_hidden_state.sum().backward()


def measure(
    layers: Sequence[int] = (3,),
    repetitions: int = 5,
    device: str = "cpu",
    shapes: Sequence[tuple[int, int]] = SHAPES,
) -> list[harness.Row]:
    """A row for each number of layers, shape (tokens, examples), form of the gates, and kind of cost.

    Short steps are repeated up to three times as often: they scatter more.
    """
    torch.set_num_threads(1)
    rows = []
    for depth in layers:
        plain, ours, as_published = (
            encoder(side, depth, device) for side in (GateSide.none, GateSide.both, GateSide.both)
        )
        for site in at_work(as_published):
            site.change = replace(site.change, apply=published)
        encoders: dict[str, nn.Module] = {"plain": plain, "GI both": ours, "published GI": as_published}
        for tokens, examples in shapes:
            hidden_BTD = torch.randn(examples, tokens, HIDDEN, device=device, requires_grad=True)
            calls = {name: partial(step, module, hidden_BTD) for name, module in encoders.items()}
            repeats = repetitions * max(1, min(3, 1024 // (tokens * examples)))
            seconds = harness.in_turn(calls, repeats, harness.clock(device))
            kept = {
                name: [harness.saved(partial(module, hidden_BTD), module.parameters()) / 1e6]
                for name, module in encoders.items()
            }
            for form in ("GI both", "published GI"):
                title = f"BERT-large, {depth} layer{'s' * (depth > 1)}, N={tokens}, batch {examples}: {form}"
                rows += [
                    harness.row(title, seconds["plain"], seconds[form], "forward and backward", is_cost=True),
                    harness.row(
                        f"{title}, saved", kept["plain"], kept[form], "saved activations", is_cost=True, unit="MB"
                    ),
                ]
    return rows


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--layers", type=int, nargs="+", default=[3])
    parser.add_argument("--repetitions", type=int, default=5)
    harness.report(measure, parser.parse_args())


if __name__ == "__main__":
    main()
