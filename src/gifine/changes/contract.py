"""What a file of `gifine.changes` has, and what it is given. A change never knows the model's family.

It names its sites, says what it learns there, and is handed each site's value to change. A file has

    SITES                                          the sites, or find_sites(settings) if its keys choose them
    find_parameters(settings, place)               by name, each tensor that it learns at a place: shape and start.
                                                   NAME is saved as change_SITE.NAME, GROUP.NAME as GROUP_SITE.NAME
    apply(settings, parameters, value, at)         the value, changed

and, if it wants more keys than `layers`, `Settings`: a dataclass that inherits the one here, whose fields are the keys
under `change.*`, each with a default. Optional: `check(settings, sizes)` yields what is wrong with values, as
"rank=0: at least 1"; `find_layers(settings, depth)`;
`measure(parameters, value, changed, at)`, what is logged of it beside how far it moves values.

The files here import torch where they use it, since checking a config, which takes their settings, takes no torch.

Shapes: B examples, T positions, D features of the hidden states, K features of a projection (all heads together),
H heads, E = K/H, I features inside the feed-forward network, R relative positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from torch import Tensor

Site = Literal["query", "key", "value", "weights", "context", "output", "ffn", "ffn_output"]
# value                                       made of (`At.taken`)              beside it (`At.hidden`)
#   query, key, value  the projection, BTK      hidden states, BTD                the same
#   weights            after softmax, BHTT      scores, BHTT                      hidden states that attention takes
#   context            of all heads, BTK        -                                 the same
#   output             attention's, BTD         context, BTK                      the same
#   ffn                after activation, BTI    what the network takes, BTD       the same
#   ffn_output         the network's, BTD       its inner activation, BTI         what the network takes, BTD
# The last layer of a model with DeBERTa's mask decoder runs twice, with queries of other states than keys and values:
# there "the hidden states that attention takes" are, beside query, weights and context, those that queries are made of.
SITES: tuple[Site, ...] = get_args(Site)


@dataclass(frozen=True)
class Normal:
    """Drawn from N(0, std²); None: the model's own initializer_range."""

    std: float | None = None


@dataclass(frozen=True)
class Uniform:
    """Drawn between −bound and bound."""

    bound: float


@dataclass(frozen=True)
class Constant:
    value: float = 0.0


@dataclass(frozen=True)
class Parameter:
    """A tensor that a change learns. Each draws its start from a random stream of its own."""

    shape: tuple[int, ...]
    start: Normal | Uniform | Constant = field(default_factory=Constant)


@dataclass(frozen=True)
class Sizes:
    """Of a model; None where its config.json is not known yet."""

    depth: int | None = None
    hidden: int | None = None  # D
    heads: int | None = None  # H
    inner: int | None = None  # I


@dataclass(frozen=True)
class Place:
    """One site of one layer."""

    site: Site
    layer: int  # from 0
    depth: int
    hidden: int  # D
    heads: int  # H
    inner: int  # I
    taken: int  # features of `At.taken`; at `weights` and `context` 0
    given: int  # features of the value: K, D or I; at `weights` 0


@dataclass
class At:
    """What is around a value when it is changed."""

    place: Place
    hidden: Tensor
    taken: Tensor
    real_BT: Tensor | None  # True where a token is not padding; None where that is not known, or all are real
    positions: bool  # the value is the projection of relative embeddings, RK: DeBERTa's second reading
    kept: MutableMapping[str, Tensor]  # shared by all layers in one pass through the model: for later layers
    dropout: Callable[[Tensor, float], Tensor]  # in training, from a random stream of the change's own
    activation: Callable[[Tensor], Tensor]  # the feed-forward network's
    watch: Callable[[Any], None] | None  # takes statistics, a dataclass or mapping of tensors without dimensions


@dataclass
class Settings:
    """What every change has. At the published values by default."""

    layers: int | None = None  # change the last n layers, at least 1; null: all


@dataclass(frozen=True)
class Change:
    """A change's file, as `load` found it."""

    name: str
    Settings: type[Settings]
    find_sites: Callable[[Any], Sequence[Site]]
    find_layers: Callable[[Any, int], range]
    find_parameters: Callable[[Any, Place], Mapping[str, Parameter]]
    apply: Callable[[Any, Mapping[str, Tensor], Tensor, At], Tensor]
    check: Callable[[Any, Sizes], Iterator[str]]
    measure: Callable[[Mapping[str, Tensor], Tensor, Tensor, At], Mapping[str, Tensor]] | None
    file: str | None = None  # of one's own: its absolute path


def from_module(name: str, module: Any, file: str | None = None) -> Change:
    """The change that a module has, with what it leaves out filled in. `file`: one's own, which it was made of."""
    sites = tuple(getattr(module, "SITES", ()))
    return Change(
        name,
        getattr(module, "Settings", Settings),
        getattr(module, "find_sites", lambda settings: sites),
        getattr(module, "find_layers", last_layers),
        module.find_parameters,
        module.apply,
        getattr(module, "check", lambda settings, sizes: iter(())),
        getattr(module, "measure", None),
        file,
    )


def last_layers(settings: Settings, depth: int) -> range:
    """The last `settings.layers`, or all."""
    return range(0 if settings.layers is None else depth - settings.layers, depth)


def check_sites(sites: Sequence[str], valid: Sequence[str]) -> Iterator[str]:
    """What is wrong with a list of sites, as `check` yields it."""
    if not sites or len(set(sites)) < len(sites) or not set(sites) <= set(valid):
        yield f"sites=[{', '.join(sites)}]: must be one or more of {', '.join(valid)}, each once"
