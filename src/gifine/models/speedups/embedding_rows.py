"""Word embeddings of which only the rows are trained that the task's data have.

Of DeBERTa-v3's 128,001 word pieces CoLA has 6,180, RTE 19,242. The gradient of a row that does not occur is 0, and so
are AdamW's moments of it: all that the optimizer does to such a row is weight decay, the same factor for all of them.
So they are left out of training, which saves their gradient, moments and update in every step, and get that factor at
the end. Rows that occur are trained as they would be: bit for bit without gradient clipping, and to rounding with it,
since the norm is then summed up in another order.

Shapes: V tokens of the vocabulary, R of them that occur, D features.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it
from transformers import PreTrainedModel

from gifine.models.pretraining.parts import MaskedLM
from gifine.models.streams import generator


class OccurringRows(nn.Embedding):
    """Takes the token ids of the whole vocabulary; its `weight_RD` has the rows of `ids_R`, which are sorted.

    Checkpoints of training hold these rows only. A token that does not occur is an IndexError.
    """

    row: Tensor  # of each token, or -1

    def __init__(self, whole: nn.Embedding, ids_R: Tensor) -> None:
        padding_idx = whole.padding_idx
        place = None if padding_idx is None else int(torch.searchsorted(ids_R, padding_idx))
        super().__init__(len(ids_R), whole.embedding_dim, place, _weight=whole.weight.detach()[ids_R])
        self.weight.requires_grad_(whole.weight.requires_grad)
        row_V = torch.full((whole.num_embeddings,), -1)
        row_V[ids_R] = torch.arange(len(ids_R))
        self.register_buffer("row", row_V, persistent=False)
        # In lists, which modules do not look into: neither trained nor moved to another device.
        self._whole, self._ids = [whole], [ids_R]

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - its name in torch
        return F.embedding(self.row[input], self.weight, self.padding_idx)

    @torch.no_grad()
    def whole(self, decay: float) -> nn.Embedding:
        """All rows: those that were trained, and the others times what weight decay has left of them."""
        (whole,), (ids_R,) = self._whole, self._ids
        if not whole.weight.requires_grad:
            return whole.to(self.weight.device)  # none was trained, and none decays
        weight_VD = whole.weight.mul_(decay)
        weight_VD[ids_R] = self.weight.to(weight_VD)
        return whole.to(self.weight.device)


def add(model: PreTrainedModel, tokens: int) -> None:
    """Give the word embeddings a row for each of `tokens`, drawn as the others once were.

    From a stream of their own: other weights, and what is drawn after them, are as without.
    """
    whole = model.get_input_embeddings()
    assert type(whole) is nn.Embedding
    weight_VD = whole.weight.data
    new_RD = torch.empty(tokens - len(weight_VD), whole.embedding_dim)
    new_RD.normal_(0.0, model.config.initializer_range, generator=generator("word_embeddings"))
    whole.weight.data = torch.cat([weight_VD, new_RD.to(weight_VD)])
    whole.num_embeddings = model.config.vocab_size = tokens
    if isinstance(model, MaskedLM):
        bias_V = model.head.bias
        bias_V.data = torch.cat([bias_V.data, bias_V.new_zeros(tokens - len(bias_V))])


def keep(model: PreTrainedModel, ids: Iterable[int]) -> None:
    """Leave in the model's word embeddings the rows of `ids` and of padding."""
    whole = model.get_input_embeddings()
    assert type(whole) is nn.Embedding
    own = model.config.pad_token_id  # XLNet's embeddings do not know it: there its row is trained as any other
    padding = [each for each in (whole.padding_idx, own) if each is not None]
    model.set_input_embeddings(OccurringRows(whole, torch.tensor(sorted({*ids, *padding}))))


def restore(model: PreTrainedModel, decay: float) -> None:
    """Put all rows back; `decay` is the product of 1 − learning rate · weight decay over the steps that were made."""
    rows = model.get_input_embeddings()
    if isinstance(rows, OccurringRows):
        model.set_input_embeddings(rows.whole(decay))
