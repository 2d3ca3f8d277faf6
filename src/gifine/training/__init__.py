"""How a model is trained: the Trainer's subclass, order of examples, callbacks, checkpoints, numerics."""
