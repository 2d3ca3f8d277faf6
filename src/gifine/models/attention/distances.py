"""Products of positions with a vector for each distance: x[i] · pos[i − j] for all pairs, and their gradients.

x[i] · pos[d] for all distances d is one matrix product, of which row i has what is wanted in T columns next to each
other; from the largest distance to the smallest, they begin at column T − 1 − i. An array whose rows have one column
less, in the same memory, has them below each other. So nothing is gathered, and gradients are written through the same
view. (Transformer-XL, arXiv 1901.02860, appendix B, shifts rows likewise.) A block of rows needs the columns of its own
distances only.

Shapes: h heads, b examples, T positions, E features of a head, L = 2T − 1 distances; n positions of a block, m = b·n,
W = T + n − 1 distances of a block; R relative embeddings, K = all heads' E.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 32  # positions at a time on a CPU, or a quarter of all: of 16 to 512, it was fastest or within 3 % of that


def _blocks(x_hbTE: Tensor) -> Iterator[tuple[slice, slice]]:
    """Blocks of positions, on a GPU all in one, and the distances that each of them meets."""
    T = x_hbTE.shape[2]
    size = max(BLOCK, T // 4) if x_hbTE.device.type == "cpu" else T
    for start in range(0, T, size):
        stop = min(start + size, T)
        yield slice(start, stop), slice(T - stop, 2 * T - 1 - start)


def products(x_hbTE: Tensor, pos_hLE: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """x[i] · pos[T − 1 − i + j] for all j, and for blocks of i: which, and `view_hbnT`."""
    h, b, T, E = x_hbTE.shape
    for block, distances in _blocks(x_hbTE):
        x_hmE = x_hbTE[:, :, block].reshape(h, -1, E)  # m = b·n
        yield block, _shifted(torch.bmm(x_hmE, pos_hLE[:, distances].transpose(1, 2)), b, T)


def _shifted(x_hmW: Tensor, b: int, T: int) -> Tensor:
    """Row i of each block of n = m/b from its column n − 1 − i on: `x_hbnT`, a view."""
    h, m, W = x_hmW.shape
    n = m // b
    return x_hmW.as_strided((h, b, n, T), (m * W, n * W, W - 1, 1), x_hmW.storage_offset() + n - 1)


def add_gradients(
    grad_hbTT: Tensor, x_hbTE: Tensor, pos_hLE: Tensor, grad_x_hbTE: Tensor | None, grad_pos_hLE: Tensor | None
) -> None:
    """The gradients of `products`, added to `grad_x_hbTE` and `grad_pos_hLE`; None: nobody wants it."""
    h, b, T, E = x_hbTE.shape
    if grad_x_hbTE is None and grad_pos_hLE is None:
        return
    for block, distances in _blocks(x_hbTE):
        x_hmE = x_hbTE[:, :, block].reshape(h, -1, E)
        grad_hmW = grad_hbTT.new_zeros(h, x_hmE.shape[1], distances.stop - distances.start)
        _shifted(grad_hmW, b, T).copy_(grad_hbTT[:, :, block])
        if grad_x_hbTE is not None:
            grad_x_hbTE[:, :, block] += torch.bmm(grad_hmW, pos_hLE[:, distances]).view(h, b, -1, E)
        if grad_pos_hLE is not None:
            grad_pos_hLE[:, distances].baddbmm_(grad_hmW.transpose(1, 2), x_hmE)


def gradient_of_rows(grad_HLE: Tensor, row_L: Tensor, like_RK: Tensor) -> Tensor:
    """The gradient of each distance, added to that of its row."""
    grad_LK = grad_HLE.transpose(0, 1).flatten(1)
    return torch.zeros_like(like_RK).index_add_(0, row_L, grad_LK)
