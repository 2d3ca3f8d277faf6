"""Where the parts of a model lie: names of submodules, which families below `families/` and all others ask for."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from gifine.inputs.families import FAMILIES, normalise_type

# Heads for masked tokens (of BERT, RoBERTa, both DeBERTas) and replaced ones (of DeBERTas, of the others).
_PRETRAINING = ("cls.", "lm_head.", "lm_predictions.", "mask_predictions.", "discriminator_predictions.")


@dataclass(frozen=True)
class Layout:
    """Names of submodules; the default is BERT's, which most families have."""

    layers: str = "encoder.layer"  # below the backbone
    attention: str = "attention.self"  # below a layer
    classifier: str = "classifier"
    reader: str = "qa_outputs"
    pooler: str = "pooler"  # between backbone and head, or at the end of the backbone
    embeddings: str = "embeddings"
    unused: tuple[str, ...] = ()  # parameters that no head's loss reaches
    length_first: bool = False  # inside of the model, positions come before examples
    bare_projections: bool = False  # attention's are parameters, D × H × E without biases, and no linear layers

    @property
    def heads(self) -> tuple[str, ...]:
        """What the names of their parameters begin with, those of pre-training included."""
        return *self.tuned_heads, *_PRETRAINING

    @property
    def tuned_heads(self) -> tuple[str, ...]:
        """The same of heads for tasks."""
        return f"{self.classifier}.", f"{self.reader}."


_OTHERS = {
    "xlnet": Layout(
        layers="layer",
        attention="rel_attn",
        classifier="logits_proj",
        pooler="sequence_summary",
        embeddings="word_embedding",
        unused=("transformer.mask_emb",),
        length_first=True,
        bare_projections=True,
    )
}


def of_family(name: str) -> Layout:
    return _OTHERS.get(name, Layout())


def of(model: PreTrainedModel) -> Layout:
    """That of a model of one of FAMILIES, plain or changed."""
    return of_family(normalise_type(model.config.model_type))


def cls_last(model: PreTrainedModel) -> bool:
    """Whether a classifier reads the last token; else the first."""
    return FAMILIES[normalise_type(model.config.model_type)].cls_last


def layers(model: PreTrainedModel) -> nn.ModuleList:
    """Those of its encoder, from the first."""
    found = model.base_model.get_submodule(of(model).layers)
    assert isinstance(found, nn.ModuleList)
    return found
