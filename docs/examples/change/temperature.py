"""A learned temperature for each head: queries times exp(t), so that attention is sharper or flatter.

    exp(t_h) · query_h          t: one number a head, 0 at the start, where exp(0) = 1 is the plain model to the bit

Shapes: B examples, T positions, K features of all heads, H heads, E = K/H.
"""

from dataclasses import dataclass

from gifine import changes

SITES = ("query",)


@dataclass
class Settings(changes.Settings):
    start: float = 0.0  # t at the first step
    positions: bool = True  # DeBERTa with share_att_key: also where queries meet relative positions


def find_parameters(settings, place):
    return {"t": changes.Parameter((place.heads,), changes.Constant(settings.start))}


def apply(settings, parameters, value, at):
    heads_BTHE = value.unflatten(-1, (at.place.heads, -1))
    return (heads_BTHE * parameters["t"].exp()[:, None]).flatten(-2).to(value.dtype)


def measure(parameters, value, changed, at):
    return {"t": parameters["t"].mean()}
