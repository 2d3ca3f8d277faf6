"""What a change to attention does, shown on tiny models of all families: `gifine check-change` asks.

A module has checks of one kind; each takes a `subjects.Subject`, which is a family with the change, and gives a
`findings.Finding`. `CHECKS` is the list, in the order in which it is told.
"""

from gifine.proof import copies, gradients, invariance, start, streams, ways

CHECKS = (
    start.distance,
    start.bfloat16,
    gradients.differences,
    gradients.learned,
    copies.saved,
    copies.resumed,
    streams.paired,
    ways.checkpointed,
    ways.one_token,
    ways.fast,
    invariance.batch,
    invariance.padding,
)
