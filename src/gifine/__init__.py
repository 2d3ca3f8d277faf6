"""gifine: does a change to attention, such as Gate with Inhibition, help BERT, RoBERTa, DeBERTa or XLNet on GLUE?

Importing this package is light. `import gifine.models` registers the gated models with transformers' Auto classes.
"""

__version__ = "0.1.0"
