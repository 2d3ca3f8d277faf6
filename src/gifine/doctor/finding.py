"""What a check found, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"  # runs work, though worse than they might
    PROBLEM = "problem"  # runs will fail


@dataclass
class Finding:
    level: Level
    subject: str
    found: str
    mend: str = ""


def ok(subject: str, found: str) -> Finding:
    return Finding(Level.OK, subject, found)


def warning(subject: str, found: str, mend: str) -> Finding:
    return Finding(Level.WARNING, subject, found, mend)


def problem(subject: str, found: str, mend: str) -> Finding:
    return Finding(Level.PROBLEM, subject, found, mend)


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
