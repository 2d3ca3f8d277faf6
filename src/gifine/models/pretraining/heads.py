"""Heads of pre-training, under the names that checkpoints have.

Shapes: B examples, T positions, N places that are scored, D features of the hidden states, E of the word embeddings
(D, unless a generator is narrower than its embeddings), V tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN


def embedding_width(config: PreTrainedConfig) -> int:
    """E."""
    return getattr(config, "embedding_size", None) or config.hidden_size


class MaskedHead(nn.Module):
    """The scores of all tokens at a place: LayerNorm(act(W h + b)) Eᵀ + c, E the word embeddings (BERT's code)."""

    def __init__(self, config: PreTrainedConfig, dense: str, norm: str, activation: str | None = None) -> None:
        """`dense` and `norm` are the names of its modules; None: the activation of config.json."""
        super().__init__()
        width = embedding_width(config)
        put(self, dense, nn.Linear(config.hidden_size, width))
        put(self, norm, nn.LayerNorm(width, eps=config.layer_norm_eps))
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.names = dense, norm
        self.activation = ACT2FN[activation or config.hidden_act]

    def forward(self, hidden_ND: Tensor, embeddings_VE: Tensor) -> Tensor:
        """`scores_NV`."""
        dense, norm = (self.get_submodule(name) for name in self.names)
        return F.linear(norm(self.activation(dense(hidden_ND))), embeddings_VE, self.bias)


class DebertaReplacedHead(nn.Module):
    """W₂ gelu(W₁ LayerNorm(h + h_[CLS]) + b₁) + b₂ (microsoft/DeBERTa at 4d7fe0b,
    apps/models/replaced_token_detection_model.py).
    """

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.classifier = nn.Linear(config.hidden_size, 1)
        self.activation: Any = ACT2FN[config.hidden_act]

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        """`logits_BT`: above 0 a token is held to be replaced."""
        with_first_BTD = self.LayerNorm(hidden_BTD + hidden_BTD[:, :1])
        return self.classifier(self.activation(self.dense(with_first_BTD)))[:, :, 0]


class ElectraReplacedHead(nn.Module):
    """W₂ gelu(W₁ h + b₁) + b₂ (google-research/electra at 8a46635, run_pretraining.py)."""

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dense_prediction = nn.Linear(config.hidden_size, 1)
        self.activation: Any = ACT2FN[config.hidden_act]

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        """`logits_BT`: above 0 a token is held to be replaced."""
        return self.dense_prediction(self.activation(self.dense(hidden_BTD)))[:, :, 0]


def put(parent: nn.Module, path: str, module: nn.Module) -> None:
    """`module` below `parent` at a path of names; what is between is made where it is not there."""
    *between, name = path.split(".")
    for each in between:
        if not hasattr(parent, each):
            parent.add_module(each, nn.Module())
        parent = parent.get_submodule(each)
    parent.add_module(name, module)
