"""The models: transformers' classifiers, plain and gated.

    model = build(cfg.model, cfg.gi, labels=["no", "yes"])     for a run
    model = from_pretrained("runs/…/model")                    what `save_pretrained` wrote

Importing this package makes `AutoConfig`, `AutoModel` and `AutoModelForSequenceClassification` know the GI models.
"""

from gifine.models.pretrained import (
    ORIGINAL_KEYS,
    LayerCountWarning,
    build,
    commit,
    count_parameters,
    family_classes,
    from_pretrained,
    with_attention,
)

__all__ = [
    "ORIGINAL_KEYS",
    "LayerCountWarning",
    "build",
    "commit",
    "count_parameters",
    "family_classes",
    "from_pretrained",
    "with_attention",
]
