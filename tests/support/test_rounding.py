"""What other tests allow float32: it follows the terms that are added up, not their sum."""

from __future__ import annotations

import pytest
import torch

from support.rounding import tolerances


@pytest.mark.parametrize("size", [1.0, 1e3])
def test_a_sum_that_is_0_is_allowed_what_its_terms_round_to(size: float) -> None:
    terms = size * torch.randn(500)
    terms = torch.cat([terms, -terms])[torch.randperm(1000)]
    allowed = tolerances(lambda: {"sum": terms.double().sum()}, torch.float32)["sum"]
    assert abs(float(terms.sum())) < allowed < 1e-4 * float(terms.abs().sum())


def test_products_of_matrices_and_softmax_are_allowed_what_they_round_to_and_little_more() -> None:
    query, key = torch.randn(40, 30), torch.randn(40, 30)

    def weights(dtype: torch.dtype) -> dict[str, torch.Tensor]:
        scores = query.to(dtype) @ key.to(dtype).T
        masked = scores.masked_fill(torch.ones(40, 40).triu(1).bool(), torch.finfo(dtype).min)
        return {"scores": scores, "weights": masked.softmax(-1)}

    allowed = tolerances(lambda: weights(torch.float64), torch.float32)
    exact, rounded = weights(torch.float64), weights(torch.float32)
    for name, value in exact.items():
        error = float((rounded[name] - value).abs().max())
        assert error < allowed[name] < 1000 * error, name
