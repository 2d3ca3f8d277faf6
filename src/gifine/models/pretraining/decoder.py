"""DeBERTa's enhanced mask decoder (arXiv 2006.03654, section 3.2), where absolute positions come in.

With position_biased_input=false an encoder knows distances alone. So the last layer runs twice, over the hidden states
h of the layer before it, with queries that begin with the positions p:

    z₀ = h + p        zᵢ = layer(keys and values: h; queries and residual: zᵢ₋₁)        z₂ is scored

As in microsoft/DeBERTa at 4d7fe0b, apps/models/masked_language_model.py, which in addition runs the layer as an
encoder's and scores nothing of it: that is left out here. The last layer's weights are an encoder's, and that is what
they are fine-tuned as. What a change has beside its value in those two runs: `changes/contract.py`.

Shapes: B examples, T positions, D features.
"""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import PreTrainedModel

from gifine.models import at_site
from gifine.models.pretraining.heads import embedding_width

RUNS = 2


class WithDecoder(PreTrainedModel):
    """Mixed into a DeBERTa's backbone: the last layer decodes, if positions are not in the input already."""

    takes_queries: ClassVar[type[nn.Module]]  # attention that has `query_states`
    encoder: Any
    embeddings: Any

    def post_init(self) -> None:
        config, layer = self.config, self.encoder.layer[-1]
        if not getattr(config, "position_biased_input", True):
            positions = nn.Embedding(config.max_position_embeddings, embedding_width(config))
            self.embeddings.position_embeddings = positions  # its name in the original's checkpoints, too
            layer.__class__ = mixed(Decoding, type(layer))
            layer.decodes_with = [self.embeddings]  # in a list: its parameters are not the layer's
            if not isinstance(layer.attention.self, self.takes_queries):
                layer.attention.self.__class__ = self.takes_queries
        super().post_init()


class Decoding(nn.Module):
    """Mixed into that layer."""

    decodes_with: list[Any]

    def forward(self, hidden_states: Tensor, *args: Any, query_states: Tensor | None = None, **kwargs: Any) -> Any:
        assert query_states is None, "the encoder asks for no queries from elsewhere"
        (embeddings,) = self.decodes_with
        positions_1TD = embeddings.position_embeddings(embeddings.position_ids[:, : hidden_states.shape[1]])
        if embeddings.embed_proj is not None:
            positions_1TD = embeddings.embed_proj(positions_1TD)
        states_BTD, found, current = hidden_states + positions_1TD, (), at_site.now()
        for run in range(RUNS):
            current.again = run
            found = super().forward(hidden_states, *args, query_states=states_BTD, **kwargs)
            states_BTD = found[0]
        return found


@cache
def mixed(kind: type[nn.Module], plain: type[nn.Module]) -> type[Any]:
    """A class of these two, under the plain one's name."""
    return type(plain.__name__, (kind, plain), {})
