"""Maths of changes with derivatives written by hand: it takes torch, which the files above import where they use it."""
