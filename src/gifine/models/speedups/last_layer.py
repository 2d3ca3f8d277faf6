"""The last layer computed for what a classifier reads of it: one token, the first, or XLNet's last.

Attention there looks at all tokens as ever, gates and their maximum included; what comes after it (its output
projection and the feed-forward network, three quarters of a plain layer's arithmetic) treats each token by itself, and
the pooler takes one. So the others are left out, and their gradients, which are zero. Logits and gradients are
the same up to rounding; in training, dropout draws as many numbers less, so a seed means other ones.

Shapes: B examples, T positions, D features; XLNet has T before B inside.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from gifine.models import layouts


def one_token(model: PreTrainedModel) -> None:
    """From now on, the classifier's `last_hidden_state` has one position."""
    layers = layouts.layers(model)
    if len(layers) == 1 and getattr(getattr(model.base_model, "encoder", None), "conv", None) is not None:
        return  # DeBERTa-v2's convolution follows the first layer and reads all of its tokens
    if layouts.cls_last(model):
        attention = layers[-1].get_submodule(layouts.of(model).attention)
        attention.__class__ = _of_last(type(attention))
    else:
        layers[-1].get_submodule("attention.output").register_forward_pre_hook(_first)


def _first(module: nn.Module, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Of what attention gives and of the residual beside it."""
    context_BTD, residual_BTD = inputs
    return context_BTD[:, :1], residual_BTD[:, :1]


class _OfLast(nn.Module):
    """Mixed into XLNet's attention, of which what gives the output is a method and no module."""

    def post_attention(self, h: Tensor, attn_vec: Tensor, residual: bool = True) -> Tensor:
        return super().post_attention(h[-1:], attn_vec[-1:], residual)  # pyrefly: ignore[not-callable] - XLNet's


@cache
def _of_last(attention: type[nn.Module]) -> type[Any]:
    return type(f"{attention.__name__}OfLast", (_OfLast, attention), {})
