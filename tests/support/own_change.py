"""A file of one's own that changes nothing."""

from __future__ import annotations

MINE = """\
SITES = ("key",)


def find_parameters(settings, place):
    return {}


def apply(settings, parameters, value, at):
    return value
"""
