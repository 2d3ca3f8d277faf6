"""One file a family: config, gated attention, backbone and classifier, on top of transformers' own."""
