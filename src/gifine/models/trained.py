"""Which parameters train, and models of which these alone are saved, to be loaded over what they were trained over."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from gifine.choices import Parameters
from gifine.inputs.model_files import OVER, TRAINED
from gifine.models import bases, layouts, loading
from gifine.models.change_config import is_change

log = logging.getLogger(__name__)

_HUB = ("cache_dir", "force_download", "local_files_only", "subfolder", "token")  # how transformers reaches it


def choose(model: PreTrainedModel, parameters: Parameters, new: Iterable[str]) -> None:
    """Freeze what does not train. `new` are the parameters that the checkpoint did not have.

    With `change` and `bias` the head trains, the change, whatever else is new, and what DeBERTas and XLNet have between
    encoder and head (`pooler`), which no pretraining made: a whole one with `change`; with `bias`, of one that the
    checkpoint had, the bias, as in BitFit's code, which finds biases by "bias" in their names.
    """
    always, layout = {*new}, layouts.of(model)

    def trains(name: str) -> bool:
        if name in layout.unused:
            return False  # several processes would wait for its gradient
        if parameters is Parameters.all or name in always or name.startswith(layout.heads) or is_change(name):
            return True
        return "bias" in name if parameters is Parameters.bias else name.startswith(f"{layout.pooler}.")

    loading.freeze(model, [name for name, _ in model.named_parameters() if not trains(name)])


def frozen(model: PreTrainedModel) -> set[str]:
    """The parameters that are those of the checkpoint: none that was to train, nor one that anybody trains since then.

    A base parameter that somebody trains by hand has to want gradients still when it is saved.
    """
    return {*loading.of_base(model)} - {name for name, each in model.named_parameters() if each.requires_grad}


class TrainedOver(PreTrainedModel):
    """Mixed into models with a head: what `trained_over` in their config names is not saved, nor read in their folder.

    Without that entry they are saved and loaded as transformers does it.
    """

    @classmethod
    def from_pretrained(  # pyrefly: ignore[bad-override] - with one keyword more
        cls, pretrained_model_name_or_path: Any, *args: Any, base: str | Path | None = None, **kwargs: Any
    ) -> Any:
        """As transformers', also of trained parameters alone, whose frozen base stays frozen.

        `base` is where that lies, if not where config.json says.

        Raises:
            ModelError: for a base that is not there, or that is another one.
        """
        checkpoint, revision = str(pretrained_model_name_or_path), kwargs.get("revision")
        hub = {key: kwargs[key] for key in _HUB if key in kwargs}
        entries = bases.read_config(checkpoint, revision, **hub)
        if entries.get(OVER) is None:
            return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        with_report = kwargs.pop("output_loading_info", False)
        config = kwargs.pop("config", None)
        if config is None:
            assert cls.config_class is not None
            read: Any = cls.config_class.from_pretrained(checkpoint, return_unused_kwargs=True, **kwargs)
            config, kwargs = read
        options = {key: kwargs[key] for key in ("dtype", "device_map", "attn_implementation") if key in kwargs}
        place = None if base is None else str(base)
        loaded = loading.load(
            cls, config, checkpoint, revision, base=place, entries=entries, **loading.WHOLE, **options
        )
        empty: dict[str, Any] = {"missing_keys": {*loaded.new}, "unexpected_keys": set(), "mismatched_keys": set()}
        return (loaded.model, empty | {"error_msgs": []}) if with_report else loaded.model

    def save_pretrained(  # pyrefly: ignore[bad-override] - transformers' other arguments are handed on
        self, save_directory: Any, is_main_process: bool = True, state_dict: dict[str, Tensor] | None = None, **kw: Any
    ) -> None:
        """As transformers', or, with `trained_over`, without what is frozen."""
        if getattr(self.config, OVER) is None:
            super().save_pretrained(save_directory, is_main_process, state_dict, **kw)
        elif is_main_process:
            folder, left_out = Path(save_directory), frozen(self)
            folder.mkdir(parents=True, exist_ok=True)
            self.config.architectures = [type(self).__name__]
            self.config.save_pretrained(folder)
            tensors = {
                name: tensor.detach().cpu().contiguous()
                for name, tensor in (self.state_dict() if state_dict is None else state_dict).items()
                if name not in left_out
            }
            save_file(tensors, folder / TRAINED, {"format": "pt"})

    def activation_checkpointing_enable(self, *args: Any, **kwargs: Any) -> None:
        """As transformers', which then asks for gradients of the embeddings, for checkpoints that are reentrant.

        Others do without; and with a frozen base these would be computed down through all of its layers.
        """
        super().activation_checkpointing_enable(*args, **kwargs)
        given = args[0] if args else kwargs.get("activation_checkpointing_kwargs")
        if frozen(self) and not (given or {}).get("use_reentrant", False):
            self.disable_input_require_grads()


def describe(model: PreTrainedModel, parameters: Parameters) -> str | None:
    """What to say of a run that trains less than one may expect."""
    if parameters is not Parameters.change or any(is_change(name) for name, _ in model.named_parameters()):
        return None
    return f"train.parameters=change without a change: {_list(_trained(model))} train, and nothing else"


def _trained(model: PreTrainedModel) -> set[str]:
    """The modules that do, by the first part of their names; of the backbone's, the second."""
    own = f"{model.base_model_prefix}."
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return {name.removeprefix(own).partition(".")[0] for name in names}


def _list(words: Collection[str]) -> str:
    return " and ".join(sorted(words))
