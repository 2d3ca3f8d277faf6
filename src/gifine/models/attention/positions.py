"""Which rows of DeBERTa's relative embeddings a sequence of N tokens looks at.

The row depends on the distance i − j of query and key alone, so that 2N − 1 distances say everything about N² pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position


@dataclass(frozen=True)
class Positions:
    """`first` … `last` - 1 are the rows that occur; `row_L` is each distance's, from 1 − N to N − 1, less `first`."""

    first: int
    last: int
    row_L: Tensor


@lru_cache(maxsize=4096)
def positions(length: int, span: int, buckets: int, maximum: int, device: torch.device) -> Positions:
    """Of DeBERTa-v2 and -v3, with 2 · `span` relative embeddings; `buckets` below 1: none, each distance has a row."""
    wanted = buckets > 0 and maximum > 0

    def bucket(distance_L: Tensor) -> Tensor:
        # transformers' own function, on the device where transformers would call it: a logarithm that is rounded
        # otherwise can end in another bucket.
        return make_log_bucket_position(distance_L, buckets, maximum) if wanted else distance_L

    return _positions(length, span, span, device, bucket)


@lru_cache(maxsize=4096)
def positions_v1(length: int, maximum: int, device: torch.device) -> Positions:
    """Of DeBERTa v1, with 2 · `maximum` relative embeddings, of which shorter sequences use those in the middle."""
    return _positions(length, min(length, maximum), maximum, device, lambda distance_L: distance_L)


def _positions(
    length: int, span: int, middle: int, device: torch.device, bucket: Callable[[Tensor], Tensor]
) -> Positions:
    # Kept for later forwards, which may be of training although this one is not.
    with torch.inference_mode(mode=False), torch.no_grad():
        distance_L = torch.arange(1 - length, length, device=device)
        row_L = (bucket(distance_L).long() + span).clamp(0, 2 * span - 1) + middle - span
        first, last = int(row_L.min()), int(row_L.max()) + 1  # waits for a GPU, but once for a length
        return Positions(first, last, row_L - first)
