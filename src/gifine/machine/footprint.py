"""What training a model takes by its number of parameters: in memory, and on disk in checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

_FLOAT32 = 4  # bytes: weights, gradients and AdamW's two moments, with bf16 autocast as well
KEPT_CHECKPOINTS = 2  # with 1, training that stops early deletes its last one and keeps the best
MOST_CHECKPOINTS = KEPT_CHECKPOINTS + 1  # a new one is written before the oldest is deleted


@dataclass(frozen=True)
class Footprint:
    """In bytes, on one device without FSDP; with it, the first three are divided by the number of processes."""

    parameters: int  # a count, as are gates, and those that train
    gates: int = 0
    trained: int | None = None  # None: all

    @property
    def weights(self) -> int:
        return _FLOAT32 * self.parameters

    @property
    def gradients(self) -> int:
        return _FLOAT32 * (self.parameters if self.trained is None else self.trained)

    @property
    def saved(self) -> int:
        """Weights on disk: without those that are frozen."""
        return self.gradients

    @property
    def optimizer(self) -> int:
        return 2 * self.gradients

    @property
    def training(self) -> int:
        return self.weights + self.gradients + self.optimizer

    @property
    def checkpoint(self) -> int:
        """On disk: what a resume needs."""
        return self.saved + self.optimizer

    @property
    def checkpoints(self) -> int:
        """On disk: as many as there are at once while the model trains."""
        return MOST_CHECKPOINTS * self.checkpoint

    @property
    def kept_checkpoints(self) -> int:
        """On disk: those that stay until the run has finished, or with train.keep_checkpoints=true for good."""
        return KEPT_CHECKPOINTS * self.checkpoint
