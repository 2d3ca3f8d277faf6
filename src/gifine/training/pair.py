"""The Trainer of a generator and a discriminator: one optimizer, and a step of each or one of both.

Decoupled, as DeBERTaV3 (He et al. 2023, arXiv 2111.09543; microsoft/DeBERTa, commit 4d7fe0b, DeBERTa/apps/tasks/
rtd_task.py and trainer.py): the generator's gradient, clipped by its own norm, its step; then the discriminator, which
reads the embeddings that this step has left, and its step. What it reads was sampled before. No parameter has a
gradient from both, so that one AdamW serves them: it passes over parameters without a gradient.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from gifine.models.pretraining.pair import Pair
from gifine.training.trainer import Trainer


class PairTrainer(Trainer):
    """`generator_rate` is the generator's highest learning rate; None: the discriminator's."""

    def __init__(self, *args: Any, decoupled: bool, generator_rate: float | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.decoupled, self.generator_rate = decoupled, generator_rate
        self._sampled: list[tuple[dict[str, Any], Tensor]] = []  # of a step's batches, what the discriminator reads

    @property
    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Of now: FSDP puts other parameters into the model when training begins."""
        assert isinstance(self.model, Pair)
        return self.model.parts()

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW with two groups, with and without decay, of each part."""
        if self.optimizer is None:
            assert self.model is not None
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)  # pyrefly: ignore[bad-argument-type] - self.model is typed as a Module
            names, decaying = {id(each): name for name, each in self.model.named_parameters()}, set(self._decaying())
            groups = []
            for part, parameters in self.parts.items():
                rate = self.generator_rate if part == "generator" else None
                for decay in (self.args.weight_decay, 0.0):
                    chosen = [each for each in parameters if (names[id(each)] in decaying) == bool(decay)]
                    groups.append({"params": chosen, "weight_decay": decay} | ({} if rate is None else {"lr": rate}))
            self.optimizer = kind([group for group in groups if group["params"]], **options)
        return self.optimizer

    def _decaying(self) -> list[str]:
        assert self.model is not None
        return self.get_decay_parameter_names(self.model) if self.args.weight_decay else []

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        if not self.decoupled:
            return super().training_step(model, inputs, num_items_in_batch)
        model.train()
        batch = self._prepare_inputs(inputs)
        with self.compute_loss_context_manager():
            outputs = model(**batch, part="generator")
            loss = self._share({"nll": outputs["nll"]}, batch, num_items_in_batch)
        self.accelerator.backward(loss)
        self._sampled.append((batch, outputs["replaced"]))
        told = loss.detach()
        if not self.accelerator.sync_gradients:
            return told  # more batches of this step are to come
        if self.args.max_grad_norm > 0:
            self.accelerator.clip_grad_norm_(self.parts["generator"], self.args.max_grad_norm)
        assert self.optimizer is not None
        self.optimizer.step()
        for parameter in self.parts["generator"]:
            parameter.grad = None
        sampled, self._sampled = self._sampled, []
        for place, (each, replaced) in enumerate(sampled):
            is_last = place == len(sampled) - 1
            with nullcontext() if is_last else self.accelerator.no_sync(model):
                with self.compute_loss_context_manager():
                    outputs = model(**each, part="discriminator", replaced=replaced)
                    loss = self._share({"bce": outputs["bce"]}, each, num_items_in_batch)
                self.accelerator.backward(loss)
            told = told + loss.detach()
        return told

    def _share(self, outputs: dict[str, Tensor], batch: dict[str, Any], total: Any) -> Tensor:
        """Of the step's loss, that of a batch; gradients of processes are averaged."""
        assert self.loss is not None
        return self.loss.of(outputs, batch, total) * self.accelerator.num_processes
