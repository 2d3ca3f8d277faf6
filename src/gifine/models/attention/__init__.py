"""How attention is computed: gated, fast, and as transformers does it."""
