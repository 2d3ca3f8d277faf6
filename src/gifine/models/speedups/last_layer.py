"""The last layer computed for what a classifier reads of it: the first token.

Attention there looks at all tokens as ever, gates and their maximum included; what comes after it (its output
projection and the feed-forward network, three quarters of a plain layer's arithmetic) treats each token by itself, and
the pooler takes the first. So the others are left out, and their gradients, which are zero. Logits and gradients are
the same up to rounding; in training, dropout draws as many numbers less, so a seed means other ones.

Shapes: B examples, T positions, D features.
"""

from __future__ import annotations

from torch import Tensor, nn
from transformers import PreTrainedModel


def first_token(model: PreTrainedModel) -> None:
    """From now on, the classifier's `last_hidden_state` has one position."""
    encoder = model.base_model.get_submodule("encoder")
    layers = encoder.get_submodule("layer")
    assert isinstance(layers, nn.ModuleList)
    if len(layers) == 1 and getattr(encoder, "conv", None) is not None:
        return  # DeBERTa-v2's convolution follows the first layer and reads all of its tokens
    layers[-1].get_submodule("attention.output").register_forward_pre_hook(_first)


def _first(module: nn.Module, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Of what attention gives and of the residual beside it."""
    context_BTD, residual_BTD = inputs
    return context_BTD[:, :1], residual_BTD[:, :1]
