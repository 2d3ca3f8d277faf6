"""What is done to attention: a change is one file, its maths and where it sits. Nothing of gifine is imported here.

`Change` says what such a module has. `models/gated.py` puts it into the self-attention of every family; a change never
knows the family. `gi.py` is the first; `GatedConfig.change` says which one a model has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from gifine.changes import contract
from gifine.changes.contract import At, Constant, Normal, Parameter, Place, Settings, Sizes, Uniform

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["At", "Constant", "Normal", "Parameter", "Place", "Settings", "Sizes", "Uniform", "load", "names"]

Site = Literal["k", "q"]
SITES: tuple[Site, ...] = ("k", "q")  # the content's key and query projections


class Change(Protocol):
    """The functions of a change's module. `config` is the model's, with the entries of its config.json.

    B examples, T positions, D features of the hidden states, K features of a projection.
    """

    @property
    def LINEARS(self) -> tuple[str, ...]:  # noqa: N802 - a constant of the module
        """Names of the linear layers that it has at a site; saved as NAME_SITE beside the projections."""
        ...

    def find_layers(self, config: Any) -> range:
        """The layers that it changes, from 0."""
        ...

    def find_sites(self, config: Any) -> tuple[Site, ...]:
        """The sites that it changes in each of these layers."""
        ...

    def find_shapes(self, hidden: int, features: int) -> Mapping[str, tuple[int, int]]:
        """Of each of `LINEARS`, how many features it takes and gives, at a projection of D to K features."""
        ...

    def starts_at_zero(self, config: Any, linear: str) -> bool:
        """Whether a linear layer's weights are zero at the start; else they are drawn. Biases are zero."""
        ...

    def read_settings(self, config: Any) -> Any:
        """What `apply` needs of the config."""
        ...

    def apply(
        self,
        settings: Any,
        linears: Mapping[str, nn.Linear],
        projected_BTK: Tensor,
        hidden_BTD: Tensor,
        real_BT: Tensor | None,
        watch: Callable[[Any], None] | None,
    ) -> Tensor:
        """`projected_BTK` of `hidden_BTD`, changed. `real_BT` is True where a token is not padding.

        `watch` gets what can be told of the change, a dataclass of tensors without dimensions.
        """
        ...


def names() -> list[str]:
    """The changes that come with gifine: the files of this folder."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in ("__init__", "contract"))


@cache
def load(name: str) -> contract.Change:
    """The change of this name, which is one of `names`."""
    return contract.from_module(name, import_module(f"gifine.changes.{name}"))
