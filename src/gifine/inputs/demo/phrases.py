"""Random words and phrases for one sentence pair of the demo data."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from gifine.inputs.demo.lexicon import (
    ADJECTIVES,
    ADVERBS,
    BE,
    DETERMINERS,
    HAVE,
    INTRANSITIVE,
    NUMBERS,
    PEOPLE,
    PREPOSITIONS,
    THINGS,
    TRANSITIVE,
    Forms,
)

T = TypeVar("T")
Pair = tuple[str, str]  # acceptable, unacceptable


class Draw:
    """Random words for one pair; no noun comes twice."""

    def __init__(self, rng: Random) -> None:
        self._random = rng.random  # of all methods the only one whose numbers Python promises to keep
        self._used: set[Forms] = set()

    def chance(self, probability: float) -> bool:
        return self._random() < probability

    def pick(self, items: Sequence[T]) -> T:
        return items[int(self._random() * len(items))]

    def pick_other(self, items: Sequence[T], than: T) -> T:
        return self.pick([item for item in items if item != than])

    def number(self) -> int:
        return self.pick(NUMBERS)

    def phrase(self, nouns: Sequence[Forms], number: int | None = None, determiner: str | None = None) -> str:
        """A noun phrase, sometimes with an adjective; number and determiner by chance where they are None."""
        noun = self.pick(nouns)
        while noun in self._used:
            noun = self.pick(nouns)
        self._used.add(noun)
        number = self.number() if number is None else number
        determiner = self.pick(("the", *DETERMINERS[number])) if determiner is None else determiner
        adjective = f"{self.pick(ADJECTIVES)} " if self.chance(0.25) else ""
        return f"{determiner} {adjective}{noun[number]}"

    def person(self, number: int | None = None, determiner: str | None = None) -> str:
        return self.phrase(PEOPLE, number, determiner)

    def thing(self) -> str:
        return self.phrase(THINGS)

    def modifier(self) -> str:
        """A prepositional phrase or a relative clause, to stand between a subject and its verb."""
        kind = self.pick(("phrase", "subject", "object"))
        if kind == "phrase":
            return f"{self.pick(PREPOSITIONS)} {self.person()}"
        verb = self.pick(TRANSITIVE).past
        return f"that {verb} {self.person()}" if kind == "subject" else f"that {self.person()} {verb}"

    def predicates(self, number: int) -> Pair:
        """A predicate for a subject of `number`, and the same one in the other number."""
        verb, rest = self.pick(INTRANSITIVE), self.pick(ADVERBS)
        if self.chance(0.5):
            verb, rest = self.pick(TRANSITIVE), self.thing()
        forms, rest = self.pick(
            ((verb.present, rest), (BE, f"{verb.gerund} {rest}"), (HAVE, f"{verb.participle} {rest}"))
        )
        return f"{forms[number]} {rest}", f"{forms[1 - number]} {rest}"
