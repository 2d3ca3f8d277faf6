"""The models: transformers' classifiers, plain and gated.

    model = build(cfg.model, cfg.gi, labels=["no", "yes"])     for a run
    model = from_pretrained("runs/…/model")                    what `save_pretrained` wrote

Importing this package makes `AutoConfig`, `AutoModel` and `AutoModelForSequenceClassification` know the GI models.
"""

from gifine.models.families import family_classes, register
from gifine.models.gated import drawn_from
from gifine.models.gi_config import LayerCountWarning
from gifine.models.pretrained import attention_path, build, commit, count_parameters, from_pretrained, with_attention
from gifine.models.trained import frozen

register()

__all__ = [
    "LayerCountWarning",
    "attention_path",
    "build",
    "commit",
    "count_parameters",
    "drawn_from",
    "family_classes",
    "from_pretrained",
    "frozen",
    "with_attention",
]
