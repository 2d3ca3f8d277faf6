"""How attention is computed: changed, fast, and as transformers does it."""
