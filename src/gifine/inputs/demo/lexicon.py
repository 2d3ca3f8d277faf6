"""The words of the demo data. A word that is added here is in the sentences and in the tokenizer's vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

SINGULAR, PLURAL = 0, 1
NUMBERS = (SINGULAR, PLURAL)

Forms = tuple[str, str]  # singular and plural


class Verb(NamedTuple):
    present: Forms  # "sleeps", "sleep"
    past: str
    participle: str
    gerund: str


def _nouns(words: str) -> tuple[Forms, ...]:
    """Nouns with their plurals: `boy`, which takes -s, or `man/men`."""
    parts = (word.partition("/") for word in words.split())
    return tuple((singular, plural or f"{singular}s") for singular, _, plural in parts)


def _verb(base: str, past: str = "", participle: str = "", gerund: str = "") -> Verb:
    stem = base.removesuffix("e")
    past = past or f"{stem}ed"
    third = f"{base}es" if base.endswith("sh") else f"{base}s"
    return Verb((third, base), past, participle or past, gerund or f"{stem}ing")


def _verbs(words: str) -> tuple[Verb, ...]:
    """Verbs, regular like `laugh`, or as `base/past`, `base/past/participle` or `base/past/participle/gerund`."""
    return tuple(_verb(*word.split("/")) for word in words.split())


# a/an goes by the first letter, so no noun or adjective may be like `hour` or `uniform`.
MALE = _nouns("boy man/men king uncle prince")
FEMALE = _nouns("girl woman/women queen aunt actress/actresses")
PEOPLE = (*MALE, *FEMALE, *_nouns("teacher doctor artist child/children thief/thieves"))
THINGS = _nouns("book vase box/boxes knife/knives apple umbrella")
PLACES = _nouns("garden kitchen office library/libraries school market")
ADJECTIVES = ("old", "small", "strange", "ugly")
ADVERBS = ("again", "here", "alone", "outside")  # good with any tense

INTRANSITIVE = _verbs("sleep/slept laugh smile snore yawn weep/wept")  # never with an object
REFLEXIVE = _verbs("admire praise describe ignore avoid")  # natural with `himself`
TRANSITIVE = (*REFLEXIVE, *_verbs("protect seek/sought take/took/taken"))  # never without an object
DITRANSITIVE = _verbs("hand award send/sent bring/brought")
PUT = _verbs("put/put/put/putting stow stash")  # with an object and a place

BRIDGE = ("said", "thought", "believed", "claimed", "heard")  # with a that-clause that lets a question word out
ASK = ("asked", "wondered")  # with an indirect question
REPORT = ("heard", "believed", "repeated")  # with a that-clause or with one of RUMOR
RUMOR = ("rumor", "claim", "story")
KNOW = ("knew", "remembered", "forgot", "learned")  # with a that-clause or an indirect question
CONJUNCTIONS = ("because", "after", "before", "although")
PREPOSITIONS = ("near", "behind", "beside")

BE: Forms = ("is", "are")
BE_PAST: Forms = ("was", "were")
HAVE: Forms = ("has", "have")
MODALS = ("will", "can", "must")
DETERMINERS = (("this", "every"), ("these", "several"))  # by number
WEAK_DETERMINERS: Forms = ("a", "several")  # after "there is"
STRONG_DETERMINERS: Forms = ("every", "all")  # after "almost"
REFLEXIVES = ("himself", "herself", "themselves")
PRONOUNS = (("he", "him"), ("she", "her"), ("they", "them"), ("I", "me"), ("we", "us"))  # nominative, accusative
OTHER_WORDS = ("the", "a", "an", "no", "few", "there", "almost", "who", "what", "that", "ever", "yet", "in")


def words() -> list[str]:
    """All words above in lower case, sorted."""

    def leaves(value: object) -> Iterator[str]:
        if isinstance(value, str):
            yield value.lower()
        elif isinstance(value, tuple):
            for item in value:
                yield from leaves(item)

    return sorted({word for name, value in globals().items() if name.isupper() for word in leaves(value)})
