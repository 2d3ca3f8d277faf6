"""What pre-training has beside a classifier's: masked language models, DeBERTa's mask decoder, generator and discriminator.

These modules know no family: each says in a `Pretraining` what its heads are called and what is shared. Models are
built in `models/pairs.py`.
"""
