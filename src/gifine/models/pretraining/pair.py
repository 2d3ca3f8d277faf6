"""Generator and discriminator: what is masked the one fills in, and the other finds (ELECTRA, arXiv 2003.10555).

Their embeddings have nothing in common, or are the same (ELECTRA), or disentangled (DeBERTaV3, arXiv 2111.09543,
section 3.3): the discriminator reads

    E_D = sg(E_G) + E_Δ

whose gradient goes to E_Δ alone, though E_D's value moves with E_G. So it is with word embeddings, and with positions
where both read them in their input (of BERT and RoBERTa with token types, too). With position_biased_input=false the
original keeps an E_Δ of positions, which nothing reads and only weight decay moves: it does not exist here.

Shapes: B examples, T positions, N places that are scored, V tokens, E features of embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from gifine.choices import Sharing
from gifine.errors import ModelError
from gifine.inputs import model_files
from gifine.inputs.generators import GENERATOR
from gifine.models.pretraining.parts import UNSCORED, MaskedLM, ReplacedTokens, of_scores

DELTA = "delta.safetensors"  # there: E_Δ to the bit; E_D, rounded, is in the weights
CHUNK = 1 << 24  # probabilities at a time, when tokens are drawn: 128 MB

Step = Literal["both", "generator", "discriminator"]


@dataclass
class PairOutput(ModelOutput):
    loss: Tensor | None = (
        None  # of part="both": the generator's mean over its places + weight · the other's over tokens
    )
    nll: Tensor | None = None  # the generator's, as in MaskedOutput
    hits: Tensor | None = None
    replaced: Tensor | None = None  # `ids_BT` that the discriminator reads
    logits: Tensor | None = None  # `logits_BT`: above 0 a token is held to be replaced
    bce: Tensor | None = None  # `bce_BT`, the discriminator's −log p of what is true; 0 for padding


class Delta(nn.Embedding):
    """E_D: `weight` is E_Δ, and the other table, which is another module's, gets no gradient from here."""

    def __init__(self, source: nn.Embedding) -> None:
        rows, width = source.weight.shape
        super().__init__(rows, width, source.padding_idx, _weight=torch.zeros_like(source.weight, requires_grad=False))
        self._source = [source]  # in a list, which modules do not look into

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - its name in torch
        (source,) = self._source
        return source(input).detach() + super().forward(input)


class Pair(PreTrainedModel):
    """Its `config` is the discriminator's, which is what comes out of it."""

    generator: MaskedLM
    discriminator: ReplacedTokens
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    def __init__(
        self,
        generator: MaskedLM,
        discriminator: ReplacedTokens,
        sharing: Sharing,
        weight: float,
        *,
        start_from_sum: bool,
    ) -> None:
        """With `gdes` and `start_from_sum` E_Δ is E_D − E_G at first, so that the discriminator starts as it is; else
        0. With `shared` what is shared starts as the discriminator's.

        Raises:
            ModelError: for tables that do not fit each other.
        """
        super().__init__(discriminator.config)
        self.generator, self.discriminator = generator, discriminator
        self.sharing, self.weight = sharing, weight
        self._no_split_modules = discriminator._no_split_modules
        ours, theirs = embeddings_of(generator), embeddings_of(discriminator)
        mine, other = ours.word_embeddings.weight.shape[0], theirs.word_embeddings.weight.shape[0]
        if mine != other:
            raise ModelError(f"task.generator knows {mine} tokens, the discriminator {other}: they read the same ones")
        for name in generator.pretraining.shared if sharing is not Sharing.none else ():
            table, their = getattr(ours, name, None), getattr(theirs, name, None)
            if table is None or their is None:
                continue
            if table.weight.shape != their.weight.shape:
                raise ModelError(
                    f"task.generator has {name} of {tuple(table.weight.shape)}, the discriminator of "
                    f"{tuple(their.weight.shape)}: task.generator.sharing=none is for such ones"
                )
            if sharing is Sharing.shared:
                setattr(ours, name, their)
            elif isinstance(table, nn.Embedding):
                delta = Delta(table)
                if start_from_sum:
                    delta.weight.data = their.weight.data - table.weight.data
                setattr(theirs, name, delta)

    @property
    def base_model(self) -> Any:  # pyrefly: ignore[bad-override] - read only
        """The discriminator's: what is fine-tuned."""
        return self.discriminator.base_model

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """What the generator's step trains, and the discriminator's: with `shared` what both read is the first's."""
        mine = [*self.generator.parameters()]
        known = {id(parameter) for parameter in mine}
        rest = [parameter for parameter in self.discriminator.parameters() if id(parameter) not in known]
        return {"generator": mine, "discriminator": rest}

    def deltas(self) -> dict[str, Delta]:
        """By name below the discriminator."""
        return {name: each for name, each in self.discriminator.named_modules() if isinstance(each, Delta)}

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        uniforms: Tensor | None = None,
        part: Step = "both",
        replaced: Tensor | None = None,
    ) -> PairOutput:
        """Of texts with masks, `labels` (UNSCORED where nothing is asked), and `uniforms`, float64 in 0 … 1, from which
        tokens are drawn. `part="discriminator"` takes the `replaced` that `part="generator"` gave.
        """
        assert labels is not None
        found = PairOutput()
        if part != "discriminator":
            assert uniforms is not None
            scores_NV = self.generator.scores(labels, input_ids, attention_mask, token_type_ids)
            of_generator = of_scores(scores_NV, labels)
            drawn_N = draw(scores_NV.detach(), uniforms[labels != UNSCORED])
            replaced = originals(input_ids, labels).masked_scatter(labels != UNSCORED, drawn_N)
            found = PairOutput(nll=of_generator.nll, hits=of_generator.hits, replaced=replaced)
            if part == "generator":
                return found
            found.loss = of_generator.loss
        assert replaced is not None
        logits_BT = self.discriminator(replaced, attention_mask, token_type_ids)
        precise_BT = logits_BT if logits_BT.dtype == torch.float64 else logits_BT.float()
        is_replaced_BT = (replaced != originals(input_ids, labels)).to(precise_BT.dtype)
        real_BT = torch.ones_like(precise_BT) if attention_mask is None else attention_mask.to(precise_BT.dtype)
        bce_BT = F.binary_cross_entropy_with_logits(precise_BT, is_replaced_BT, reduction="none") * real_BT
        found.logits, found.bce = logits_BT, bce_BT
        if found.loss is not None:
            found.loss = found.loss + self.weight * bce_BT.sum() / real_BT.sum()
        return PairOutput(**found)

    def save_pretrained(  # pyrefly: ignore[bad-override] - transformers' other arguments are handed on
        self,
        save_directory: Any,
        is_main_process: bool = True,
        state_dict: Mapping[str, Tensor] | None = None,
        **kw: Any,
    ) -> None:
        """The discriminator, as one that is fine-tuned, the generator in a folder below, and E_Δ to the bit."""
        if not is_main_process:
            return
        folder, state = Path(save_directory), dict(self.state_dict() if state_dict is None else state_dict)
        ours, theirs = (_below(state, part) for part in ("generator.", "discriminator."))
        deltas = {f"{name}.weight": theirs[f"{name}.weight"] for name in self.deltas()}
        theirs |= {name: ours[name] + delta for name, delta in deltas.items()}  # both have the same names
        self.discriminator.save_pretrained(folder, state_dict=theirs, **kw)
        self.generator.save_pretrained(folder / GENERATOR, state_dict=ours, **kw)
        if deltas:
            contiguous = {name: delta.detach().cpu().contiguous() for name, delta in deltas.items()}
            save_file(contiguous, folder / DELTA, {"format": "pt"})


def embeddings_of(model: PreTrainedModel) -> Any:
    """Of all families: the module that has the tables."""
    return model.base_model.get_submodule("embeddings")


def saved_state(folder: Path, pair: Pair) -> dict[str, Tensor]:
    """What `save_pretrained` wrote of such a pair, as its `load_state_dict` takes it, bit for bit.

    Raises:
        ModelError: for weights that are not there.
    """
    state = {}
    for part, place in (("generator", folder / GENERATOR), ("discriminator", folder)):
        for path in model_files.weight_files(place):
            if path.suffix == ".safetensors":  # and no index of shards
                state |= {f"{part}.{name}": tensor for name, tensor in load_file(path).items()}
    if pair.deltas():
        if not (folder / DELTA).is_file():  # else E_D would be read as E_Δ
            raise ModelError(f"{folder}: has no {DELTA}, what the discriminator adds to the generator's embeddings")
        state |= {f"discriminator.{name}": tensor for name, tensor in load_file(folder / DELTA).items()}
    return state


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def originals(input_ids: Tensor, labels: Tensor) -> Tensor:
    """`ids_BT` of the text before anything was masked."""
    return torch.where(labels != UNSCORED, labels, input_ids)


def draw(scores_NV: Tensor, uniforms_N: Tensor) -> Tensor:
    """`ids_N` from softmax(scores): the first token whose cumulated probability is above the place's number.

    So what is drawn depends on the place's number and scores, not on the batch that it is in.
    """
    rows = max(1, CHUNK // scores_NV.shape[1])
    drawn = [
        torch.searchsorted(
            (cdf := chunk.double().softmax(dim=-1).cumsum(dim=-1)), (u * cdf[:, -1])[:, None], right=True
        )
        for chunk, u in zip(scores_NV.split(rows), uniforms_N.double().split(rows), strict=True)
    ]
    return torch.cat(drawn)[:, 0].clamp(max=scores_NV.shape[1] - 1)
