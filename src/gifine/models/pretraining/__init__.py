"""Of pre-training: masked language models, DeBERTa's mask decoder, a generator and a discriminator.

These modules know no family: each says in a `Pretraining` what its heads are called and what is shared. Models are
built in `models/pairs.py`.
"""
