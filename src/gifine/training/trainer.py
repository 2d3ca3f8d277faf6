"""transformers' Trainer, with an order of examples that can be repeated and checkpoints that are whole."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate.utils.constants import FSDP_MODEL_NAME
from safetensors.torch import load_file
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.utils.data import Sampler
from transformers import EvalPrediction, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import rotate_checkpoints

from gifine.errors import OutputError
from gifine.inputs.model_files import TRAINED
from gifine.machine import disk, out_of_memory
from gifine.models import frozen
from gifine.models.pretraining.pair import Pair, saved_state
from gifine.objectives.contract import Loss
from gifine.training import checkpointing
from gifine.training.budget import Clock
from gifine.training.ending import Patience
from gifine.training.sampler import EpochSampler


class Trainer(transformers.Trainer):
    """Trains in the order of `sampler`, and publishes each checkpoint by a rename."""

    def __init__(
        self,
        *args: Any,
        sampler: EpochSampler,
        compute_metrics: Callable[[EvalPrediction, str], dict[str, float]],
        loss: Loss | None = None,
        patience: Patience | None = None,
        clock: Clock | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, compute_metrics=self._compute_metrics, **kwargs)
        self._metrics, self._split = compute_metrics, ""
        # The classifiers take any keyword, so the Trainer believes that they divide their loss by all accumulated
        # examples, and does not divide it by the number of batches. They do not: gradients would add up.
        self.model_accepts_loss_kwargs = False
        self.loss = loss
        if loss is not None:
            self.loss_is_scaled_for_ga = True  # by the weight of all examples of a step
        self.patience = patience
        if patience is not None:
            self.add_callback(patience)
        self.add_callback(sampler)
        self.clock = Clock() if clock is None else clock
        self.add_callback(_RunningLoss(self))
        self.add_callback(self.clock)  # after the one that sets it
        self.sampler = sampler
        self.checkpoints = Path(str(self.args.output_dir))
        self._writing = False

    @property
    def ended(self) -> str | None:
        """Why training was over before its last step, if it was: no better score, or a budget that is spent."""
        return self.clock.reason if self.patience is None else self.patience.reason or self.clock.reason

    def decay(self, steps: int) -> float:
        """What weight decay alone leaves of a parameter in the first `steps` steps, as a factor."""
        scheduler = self.lr_scheduler
        assert isinstance(scheduler, LambdaLR)
        rate, shape = scheduler.base_lrs[0], scheduler.lr_lambdas[0]  # one for all parameters
        return math.prod(1 - float(rate) * shape(step) * self.args.weight_decay for step in range(steps))

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> LRScheduler:
        if self.clock.budget is None or self.lr_scheduler is not None:
            return super().create_scheduler(num_training_steps, optimizer)
        chosen = self.optimizer if optimizer is None else optimizer
        assert chosen is not None
        self.lr_scheduler = self.clock.schedule(chosen)
        return self.lr_scheduler

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        if self.loss is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        outputs = model(**inputs)
        loss = self.loss.of(outputs, inputs, num_items_in_batch)
        if num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # whose gradients are averaged
        return (loss, outputs) if return_outputs else loss

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> Any:
        """What `compute_loss` divides by: with a loss of ours, the weight of all examples of the step."""
        if self.loss is None or not batch_samples:
            return super()._get_num_items_in_batch(batch_samples, device)
        own = torch.stack([self.loss.weight_of(batch) for batch in batch_samples]).sum(dim=0).to(device)
        return self.accelerator.gather(own[None]).sum(dim=0)

    def evaluate(self, eval_dataset: Any = None, *args: Any, **kwargs: Any) -> dict[str, float]:
        self._split = eval_dataset if isinstance(eval_dataset, str) else ""  # of several, each is asked for by name
        with out_of_memory.explain("evaluating", out_of_memory.evaluation(self.args.per_device_eval_batch_size)):
            return super().evaluate(eval_dataset, *args, **kwargs)

    def _compute_metrics(self, output: EvalPrediction) -> dict[str, float]:
        return self._metrics(output, self._split)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Without metrics: whoever predicts has use for what is predicted alone."""
        compute, self.compute_metrics = self.compute_metrics, None
        try:
            return super().predict(*args, **kwargs)
        finally:
            self.compute_metrics = compute

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if not self.control.should_training_stop:  # patience was at its end when the checkpoint was written
            super()._run_epoch(*args, **kwargs)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler:
        return self.sampler

    def _get_output_dir(self, trial: Any) -> str:
        return str(self.checkpoints / checkpointing.PARTIAL if self._writing else self.checkpoints)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        step = self.state.global_step
        final = checkpointing.at_step(self.checkpoints, step)
        if final.exists():
            return  # saved at the end of this step already, and again at the end of its epoch
        with disk.writing(final, self.checkpoints / checkpointing.PARTIAL):
            self._write_checkpoint(model, trial, final)

    def _write_checkpoint(self, model: Any, trial: Any, final: Path) -> None:
        self._writing = True
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self._writing = False
        self._point_to_best()
        partial = self.checkpoints / checkpointing.PARTIAL / final.name
        running = {"sum": self._tr_loss.item(), "since": self._globalstep_last_logged, "seconds": self.clock.seconds}
        self._running_loss(partial).write_text(json.dumps(running))
        self.accelerator.wait_for_everyone()  # each process has written its random state and its losses
        if self.args.should_save:
            if (partial / TRAINED).is_file():
                (partial / f"{FSDP_MODEL_NAME}.bin").unlink(missing_ok=True)  # the frozen weights, too
            self.state.save_to_json(str(partial / "trainer_state.json"))  # with the best one's path to be
            checkpointing.publish(partial, final)
            rotate_checkpoints(
                str(self.checkpoints), self.args.save_total_limit, self.state.best_model_checkpoint, use_mtime=False
            )
        self.accelerator.wait_for_everyone()

    def _running_loss(self, checkpoint: Path) -> Path:
        return checkpoint / f"running_loss_{self.args.process_index}.json"

    def go_on_with_loss(self) -> None:
        """Go on adding up the losses since the last logged step, where a checkpoint has them: the Trainer begins anew.

        So what is logged next is the mean that undisturbed training logs.
        """
        self.state.logging_steps = int(self.args.logging_steps)  # not the checkpoint's: they may have been changed
        path = self._running_loss(checkpointing.at_step(self.checkpoints, self.state.global_step))
        if path.exists():  # not in checkpoints of older versions
            running = json.loads(path.read_text())
            self._tr_loss.fill_(running["sum"])
            self._globalstep_last_logged = running["since"]
            self.clock.seconds = running.get("seconds", 0.0)

    def _load_best_model(self) -> None:
        is_complete = self.ended is not None
        if self.state.global_step < self.state.max_steps and not is_complete:
            return  # stopped early: whoever sent the signal may not wait
        self._point_to_best()  # an earlier attempt may have known this folder by another path
        best = Path(str(self.state.best_model_checkpoint))
        problem = checkpointing.damage(best)
        if problem is not None:
            raise OutputError(f"the best checkpoint {best} is damaged ({problem}); overwrite=true starts anew")
        if not self._load_own(best):
            super()._load_best_model()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if not self._load_own(Path(resume_from_checkpoint)):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_own(self, checkpoint: Path) -> bool:
        """Load a checkpoint that transformers' Trainer would not read whole, if it is one: of a pair, or of the
        parameters that train."""
        model, path = self.model, checkpoint / TRAINED
        assert isinstance(model, transformers.PreTrainedModel)
        if not isinstance(model, Pair) and not path.is_file():
            return False
        weights: Any = saved_state(checkpoint, model) if isinstance(model, Pair) else load_file(path)
        if self.is_fsdp_enabled:  # each process has a part of each of them
            options = StateDictOptions(full_state_dict=True, strict=False)
            shared = _second_names(model)  # which set_model_state_dict would load whole
            rest = {name: weight for name, weight in weights.items() if name not in shared}
            result = set_model_state_dict(model, rest, options=options)
            result.missing_keys[:] = [name for name in result.missing_keys if name not in shared]
        else:
            result = model.load_state_dict(weights, strict=False)
        self._issue_warnings_after_load(result)
        return True

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """What a checkpoint of training lacks would go on as it happens to be: the Trainer only warns of it."""
        left_out = frozen(self.model) if isinstance(self.model, transformers.PreTrainedModel) else set()
        differing = [*(name for name in load_result.missing_keys if name not in left_out), *load_result.unexpected_keys]
        if differing:
            raise OutputError(
                f"a checkpoint below {self.checkpoints} is not of this model (it differs in {', '.join(differing[:3])}"
                f"{f' and {len(differing) - 3} more' if len(differing) > 3 else ''}), or an earlier gifine wrote it, "
                "whose checkpoints of weights with old names are not whole; overwrite=true starts anew"
            )

    def _point_to_best(self) -> None:
        if self.state.best_global_step:
            self.state.best_model_checkpoint = str(checkpointing.at_step(self.checkpoints, self.state.best_global_step))


def _second_names(model: torch.nn.Module) -> set[str]:
    """Of parameters that a model has in several places, as generator and discriminator may, all names but the first."""
    return {name for name, _ in model.named_parameters(remove_duplicate=False)} - {
        name for name, _ in model.named_parameters()
    }


class _RunningLoss(TrainerCallback):
    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer.go_on_with_loss()
