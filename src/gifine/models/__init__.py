"""The models: transformers' classifiers and answerers of questions, plain and with a change to attention.

    model = build(cfg.model, cfg.gi, labels=["no", "yes"])     for a run
    model = from_pretrained("runs/…/model")                    what `save_pretrained` wrote

Importing this package makes `AutoConfig`, `AutoModel` and its kin for both heads know the changed models.
"""

from gifine.models.change_config import LayerCountWarning
from gifine.models.families import family_classes, register
from gifine.models.pretrained import (
    attention_path,
    build,
    commit,
    count_parameters,
    describe_change,
    from_pretrained,
    with_attention,
)
from gifine.models.streams import drawn_from
from gifine.models.trained import frozen

register()

__all__ = [
    "LayerCountWarning",
    "attention_path",
    "build",
    "commit",
    "count_parameters",
    "describe_change",
    "drawn_from",
    "family_classes",
    "from_pretrained",
    "frozen",
    "with_attention",
]
