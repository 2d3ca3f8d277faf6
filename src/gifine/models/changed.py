"""A change at work, in any family: its parameters, their first values, and what it is handed.

A family says which of its modules become changed ones; these call `changed` where a value is that a change may sit at.
Parameters are children of the module that they change, under the names that `change_config.saved_name` gives.

Shapes: B examples, T positions; others as in `changes/contract.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN

from gifine.changes.contract import Change, Parameter, Place, Settings, Site
from gifine.models import at_site, layouts, streams
from gifine.models.at_site import AtSite, Pass
from gifine.models.change_config import ChangedConfig


class Learned(nn.Module):
    """The tensors of a change in one submodule, each with the name of the random numbers that it starts from."""

    def __init__(self) -> None:
        super().__init__()
        self.starts: dict[str, tuple[Parameter, str]] = {}

    def add(self, name: str, parameter: Parameter, stream: str) -> None:
        self.starts[name] = (parameter, stream)
        self.register_parameter(name, nn.Parameter(torch.empty(parameter.shape)))


class Passes(nn.Module):
    """Counts passes in training: with its seed, what dropout inside a change is drawn from. Checkpoints have it."""

    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        # The same number. To read it from a device waits for all that this is computing.
        self._known: int | None = None

    def begin(self) -> int:
        """How many passes there were before the one that begins."""
        before = int(self.count) if self._known is None else self._known
        self.count += 1
        self._known = before + 1
        return before

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._known = None
        super()._load_from_state_dict(*args, **kwargs)


class Unchanged(nn.Module):
    """A module that may be changed: it is, at the sites that it has."""

    sites: Mapping[Site, AtSite] = {}
    changes_positions: bool = False

    def changed(
        self,
        site: Site,
        value: Tensor,
        hidden: Tensor,
        *,
        taken: Tensor | None = None,
        positions: bool = False,
    ) -> Tensor:
        """`value` as a change at this site leaves it. `taken`: what it is made of, if that is not `hidden`."""
        if site not in self.sites:
            return value
        return self.sites[site].apply(self, value, hidden if taken is None else taken, hidden, positions)


class ChangedModule(Unchanged):
    """Mixed into a module of transformers', with the sites that it may have."""

    SITES: ClassVar[tuple[Site, ...]]

    def features(self, site: Site, config: ChangedConfig) -> tuple[int, int]:
        """How many there are in what the value at a site is made of, and in the value; 0 where they are none."""
        raise NotImplementedError

    sites: dict[Site, AtSite]  # pyrefly: ignore[bad-override-mutable-attribute] - of an instance, not of the class


class ChangedAttention(ChangedModule):
    SITES = ("query", "key", "value", "weights", "context")
    all_head_size: int
    dropout: nn.Dropout

    def features(self, site: Site, config: ChangedConfig) -> tuple[int, int]:
        taken = 0 if site in ("weights", "context") else config.hidden_size
        return taken, 0 if site == "weights" else self.all_head_size

    @property
    def changes_positions(self) -> bool:  # pyrefly: ignore[bad-override] - read only
        """Whether a change of queries and keys acts on relative positions too, where one projection serves both."""
        return any(getattr(site.settings, "positions", False) for site in self.sites.values())


class _WithDense(ChangedModule):
    dense: nn.Linear

    def features(self, site: Site, config: ChangedConfig) -> tuple[int, int]:
        return self.dense.in_features, self.dense.out_features


class ChangedOutput(_WithDense):
    """What follows attention or the inner layer of the feed-forward network: a projection, then the residual."""

    dropout: nn.Dropout
    LayerNorm: nn.Module

    def forward(self, hidden_states: Tensor, input_tensor: Tensor) -> Tensor:
        (site,) = self.SITES
        value = self.changed(site, self.dense(hidden_states), input_tensor, taken=hidden_states)
        return self.LayerNorm(self.dropout(value) + input_tensor)


class ChangedAttentionOutput(ChangedOutput):
    SITES = ("output",)


class ChangedNetworkOutput(ChangedOutput):
    SITES = ("ffn_output",)


class ChangedIntermediate(_WithDense):
    SITES = ("ffn",)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.changed("ffn", super().forward(hidden_states), hidden_states)


class ChangedLayer(nn.Module):
    """Where gradient checkpointing computes it again, it finds the pass as it was: by then another may have begun."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        current = at_site.now()
        return super().__call__(*args, current=current, kept=dict(current.kept), **kwargs)

    def forward(self, *args: Any, current: Pass, kept: Mapping[str, Tensor], **kwargs: Any) -> Any:
        own = Pass(current.real_BT, current.count, kept)
        with at_site.during(own):
            found = super().forward(*args, **kwargs)
        current.kept |= own.kept
        return found


class ChangedBackbone(PreTrainedModel):
    """Mixed into a family's backbone: changes its modules, says how parameters start, and what a pass is."""

    attention_class: ClassVar[type[ChangedAttention]]
    # Below a layer, what becomes a changed module, beside self-attention.
    other_modules: ClassVar[Mapping[str, type[ChangedModule]]] = {
        "attention.output": ChangedAttentionOutput,
        "intermediate": ChangedIntermediate,
        "output": ChangedNetworkOutput,
    }

    def post_init(self) -> None:
        # transformers calls this when the modules are built and before weights are drawn. Their own generators below
        # keep the base weights and the state of the random numbers what they are without a change.
        config = self.config
        assert isinstance(config, ChangedConfig)
        config.check_change()
        change, settings = config.find_change()
        changed = change.find_layers(settings, config.num_hidden_layers)
        sites, layout = change.find_sites(settings), layouts.of(self)
        for index in range(config.num_hidden_layers) if changed else ():
            layer = self.get_submodule(f"{layout.layers}.{index}")
            own = sites if index in changed else ()
            attention = layer.get_submodule(layout.attention)
            become(attention, self.attention_class, config, index, own, change, settings)
            for path, kind in self.other_modules.items():
                if {*kind.SITES} & {*own}:
                    module = layer.get_submodule(path)
                    become(module, _mixed(kind, type(module)), config, index, own, change, settings)
            layer.__class__ = _mixed(ChangedLayer, type(layer))
        if changed and getattr(settings, "dropout", 0):
            self.change_passes = Passes()
        super().post_init()

    def forward(self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, **kwargs: Any) -> Any:
        real_BT = attention_mask.bool() if attention_mask is not None and attention_mask.dim() == 2 else None
        count = None
        if self.training and hasattr(self, "change_passes"):
            count = streams.of_all_processes(self.change_passes.begin())
        with at_site.during(Pass(real_BT, count)):
            return super().forward(input_ids, attention_mask=attention_mask, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, Passes):
            init.zeros_(module.count)
        elif isinstance(module, Learned):
            for name, (parameter, stream) in module.starts.items():
                streams.start(getattr(module, name), parameter, stream, self.config.initializer_range)
        else:
            super()._init_weights(module)


def become(
    module: nn.Module,
    kind: type[ChangedModule],
    config: ChangedConfig,
    layer: int,
    sites: Sequence[Site],
    change: Change,
    settings: Settings,
) -> None:
    """Make of a module of transformers' a changed one, with these of the change's sites that it has.

    As torch's fully_shard does it: a subclass without fields of its own, so that only methods change.
    """
    module.__class__ = kind
    assert isinstance(module, ChangedModule)
    module.sites = {}
    for site in (site for site in sites if site in kind.SITES):
        place = _place(module, site, config, layer)
        activation = ACT2FN[config.hidden_act]
        module.sites[site] = at = AtSite(change, settings, place, activation)
        for name, parameter in at.parameters.items():
            part, own = at.names[name]
            if not hasattr(module, part):
                module.add_module(part, Learned())
            stream = f"{layer}.{part}" if own == "weight" else f"{layer}.{part}.{own}"
            learned = module.get_submodule(part)
            assert isinstance(learned, Learned)
            learned.add(own, parameter, stream)


@cache
def _mixed(kind: type[nn.Module], plain: type[nn.Module]) -> type[Any]:
    return type(f"Changed{plain.__name__}", (kind, plain), {})


def _place(module: ChangedModule, site: Site, config: ChangedConfig, layer: int) -> Place:
    hidden, inner = config.hidden_size, config.intermediate_size
    taken, given = module.features(site, config)
    return Place(site, layer, config.num_hidden_layers, hidden, config.num_attention_heads, inner, taken, given)


def at_work(model: nn.Module) -> Iterator[AtSite]:
    """The sites of a model's change, layer by layer."""
    for module in model.modules():
        if isinstance(module, ChangedModule):
            yield from module.sites.values()
