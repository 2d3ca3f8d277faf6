"""`array_parallelism`: how several arrays share what may run at a time. SLURM knows a limit of one array only."""

from __future__ import annotations

from collections.abc import Sequence


def scheduled(batches: Sequence[tuple[int, int]]) -> list[tuple[int, int | None]]:
    """Of batches, given as tasks and limit: how many tasks of each may run at a time, and which batch it waits for.

    Those with the same limit share it: they never run more tasks than that at a time together. What one does not need
    the others have; if they are more than the limit, the later ones wait until earlier ones have ended.
    """
    found: list[tuple[int, int | None]] = [(0, None)] * len(batches)
    for limit in {limit for _, limit in batches}:
        numbers = [number for number, (_, own) in enumerate(batches) if own == limit]
        shares = _shared([batches[number][0] for number in numbers], limit)
        for position, number in enumerate(numbers):
            before = position - len(shares)
            found[number] = (shares[position % len(shares)], numbers[before] if before >= 0 else None)
    return found


def _shared(sizes: Sequence[int], limit: int) -> list[int]:
    """Shares of the limit, at most as many as it allows; the batches take them in turn."""
    places = min(len(sizes), limit)
    needs = [max(sizes[place::places]) for place in range(places)]
    shares, left = [0] * places, limit
    for position, place in enumerate(sorted(range(places), key=needs.__getitem__)):  # the smallest needs first
        shares[place] = min(needs[place], left // (places - position))
        left -= shares[place]
    return shares
