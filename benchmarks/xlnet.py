"""XLNet's attention by length: `python -m benchmarks.xlnet`.

Forward and backward of one module of XLNet-large with dropout, projections included, of two texts of equal length and
no padding: transformers' module, ours, and one that hands torch's fused attention the terms of positions and segments
as a bias. In turn in one process, one thread, process time (with `--device cuda`: what passes until the GPU is done);
and the bytes that the forward keeps for the backward, parameters and the module's input aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it
from transformers import XLNetConfig
from transformers.models.xlnet.modeling_xlnet import XLNetRelativeAttention

from benchmarks import harness
from gifine.models.attention.xlnet import FastXLNetAttention

D = 1024
SHAPES = ((32, 16), (128, 8), (384, 2), (512, 2))  # length, batch
OURS, PEER = "ours", "transformers"


class WithABias(XLNetRelativeAttention):
    """torch's fused attention, where it has a kernel for a bias with a gradient; on a CPU it has none."""

    def rel_attn_core(
        self,
        q_head: Tensor,
        k_head_h: Tensor,
        v_head_h: Tensor,
        k_head_r: Tensor,
        seg_mat: Tensor | None = None,
        attn_mask: Tensor | None = None,
        output_attentions: bool = False,
    ) -> Any:
        assert seg_mat is not None
        assert attn_mask is None
        query_BHTE, key_BHTE, value_BHTE = (
            each.permute(1, 2, 0, 3) for each in (q_head + self.r_w_bias, k_head_h, v_head_h)
        )
        by_position_BHTR = torch.einsum("ibnd,jbnd->bnij", q_head + self.r_r_bias, k_head_r)
        by_segment_TBH2 = torch.einsum("ibnd,snd->ibns", q_head + self.r_s_bias, self.seg_embed)
        bias_BHTT = self.rel_shift_bnij(by_position_BHTR, klen=len(k_head_h))
        bias_BHTT = (bias_BHTT + torch.einsum("ijbs,ibns->bnij", seg_mat, by_segment_TBH2)) * self.scale
        dropout = self.dropout.p if self.training else 0.0
        context_BHTE = F.scaled_dot_product_attention(
            query_BHTE, key_BHTE, value_BHTE, attn_mask=bias_BHTT, dropout_p=dropout, scale=self.scale
        )
        return context_BHTE.permute(2, 0, 1, 3)


KINDS: dict[str, type[XLNetRelativeAttention]] = {
    PEER: XLNetRelativeAttention,
    "torch's with a bias": WithABias,
    OURS: FastXLNetAttention,
}


def measure(shapes: Sequence[tuple[int, int]] = SHAPES, repetitions: int = 5, device: str = "cpu") -> list[harness.Row]:
    """One row for each shape and peer."""
    torch.set_num_threads(1)
    rows, modules = [], build(device)
    for length, batch in shapes:
        inputs = make_inputs(length, batch, device)
        grad_TBD = torch.randn_like(inputs["h"])
        calls = {name: partial(_step, module, inputs, grad_TBD) for name, module in modules.items()}
        seconds = harness.in_turn(calls, repetitions, harness.clock(device))
        held = {name: _held(module, inputs) for name, module in modules.items()}
        for peer in [name for name in modules if name != OURS]:
            title = f"XLNet-large attention, N={length}, batch {batch}, vs {peer}"
            note = f"saved tensors {held[OURS] / held[peer]:.3f} of {held[peer] / 2**20:.1f} MB"
            rows.append(harness.row(title, seconds[peer], seconds[OURS], note))
    return rows


def build(device: str = "cpu") -> dict[str, nn.Module]:
    """The contestants, with the same weights, in training mode."""
    config = XLNetConfig(d_model=D, n_head=16, d_inner=4 * D, n_layer=1)
    modules: dict[str, nn.Module] = {name: kind(config) for name, kind in KINDS.items()}
    torch.manual_seed(0)
    for parameter in modules[PEER].parameters():
        nn.init.normal_(parameter, std=config.initializer_range)
    for module in modules.values():
        module.load_state_dict(modules[PEER].state_dict())
    return {name: module.to(device).train() for name, module in modules.items()}


def make_inputs(length: int, batch: int, device: str = "cpu") -> dict[str, Any]:
    """As the backbone makes them; positions differ by example, since dropout drops others in each."""
    torch.manual_seed(length)
    differ_TT = torch.arange(length).ge(length // 2)[:, None] != torch.arange(length).ge(length // 2)
    seg_mat_TTB2 = F.one_hot(differ_TT.long(), 2).float()[:, :, None].expand(-1, -1, batch, -1).contiguous()
    return {
        "h": torch.randn(length, batch, D, device=device).requires_grad_(),
        "g": None,
        "attn_mask_h": None,
        "attn_mask_g": None,
        "r": torch.randn(2 * length, batch, D, device=device),
        "seg_mat": seg_mat_TTB2.to(device),
    }


def _step(module: nn.Module, inputs: dict[str, Any], grad_TBD: Tensor) -> None:
    module(**inputs)[0].backward(grad_TBD)
    inputs["h"].grad = None
    module.zero_grad()


def _held(module: nn.Module, inputs: dict[str, Any]) -> int:
    given = (*module.parameters(), *(each for each in inputs.values() if isinstance(each, Tensor)))
    return harness.saved(lambda: module(**inputs), given)


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    harness.report(measure, parser.parse_args())


if __name__ == "__main__":
    main()
