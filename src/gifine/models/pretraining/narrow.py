"""A generator whose layers are narrower than its word embeddings, so that it can share these (ELECTRA).

DeBERTas have it in transformers: `embedding_size` in config.json. Here BERT's and RoBERTa's embeddings get it.

Shapes: B examples, T positions, D features of the hidden states, E of the embeddings.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from gifine.models.pretraining.decoder import mixed
from gifine.models.pretraining.heads import embedding_width


class WithNarrowLayers(PreTrainedModel):
    """Mixed into a backbone: its embeddings are as wide as `embedding_size` says, and are projected."""

    embeddings: Any

    def post_init(self) -> None:
        config = self.config
        width = embedding_width(config)
        if width != config.hidden_size:
            wide = copy.copy(config)
            wide.hidden_size = width
            plain = type(self.embeddings)
            self.embeddings = plain(wide)
            self.embeddings.__class__ = mixed(Projected, plain)
            # Its name in ELECTRA's checkpoints, which have it beside the embeddings.
            self.embeddings.embeddings_project = nn.Linear(width, config.hidden_size)
        super().post_init()


class Projected(nn.Module):
    """Mixed into embeddings."""

    embeddings_project: nn.Linear

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """`hidden_BTD` of what else would be `hidden_BTE`."""
        return self.embeddings_project(super().forward(*args, **kwargs))
