"""gifine: fine-tune BERT, RoBERTa and DeBERTa encoders with Gate with Inhibition on GLUE.

Importing this package is light. `import gifine.models` registers the gated models with transformers' Auto classes.
"""

__version__ = "0.1.0"
