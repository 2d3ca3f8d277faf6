"""The phenomena of the demo data: one small rule each, in the table PHENOMENA at the end.

A rule draws a minimal pair, an acceptable and an unacceptable sentence. Single words must not tell which is which:
every rule crosses two features (say the number of the subject and of the verb), draws both evenly, and only their
combination decides. Where two features are not enough, the rule says what balances the words.
"""

from __future__ import annotations

from collections.abc import Callable

from gifine.inputs.demo.lexicon import (
    ADJECTIVES,
    ADVERBS,
    ASK,
    BE,
    BE_PAST,
    BRIDGE,
    CONJUNCTIONS,
    DETERMINERS,
    DITRANSITIVE,
    FEMALE,
    HAVE,
    INTRANSITIVE,
    KNOW,
    MALE,
    MODALS,
    PEOPLE,
    PLACES,
    PLURAL,
    PREPOSITIONS,
    PRONOUNS,
    PUT,
    REFLEXIVE,
    REFLEXIVES,
    REPORT,
    RUMOR,
    SINGULAR,
    STRONG_DETERMINERS,
    THINGS,
    TRANSITIVE,
    WEAK_DETERMINERS,
)
from gifine.inputs.demo.phrases import Draw, Pair

Rule = Callable[[Draw], Pair]


def subject_verb_agreement(draw: Draw) -> Pair:
    number = draw.number()
    subject = draw.person(number)
    good, bad = draw.predicates(number)
    return f"{subject} {good}", f"{subject} {bad}"


def agreement_attraction(draw: Draw) -> Pair:
    number = draw.number()
    subject = f"{draw.person(number)} {draw.modifier()}"
    good, bad = draw.predicates(number)
    return f"{subject} {good}", f"{subject} {bad}"


def determiner_noun_agreement(draw: Draw) -> Pair:
    number = draw.number()
    determiners = draw.pick(DETERMINERS[number]), draw.pick(DETERMINERS[1 - number])
    if draw.chance(0.5):
        noun = draw.phrase(PEOPLE, number, "{}")
        sentence = f"{noun} {draw.pick(TRANSITIVE).past} {draw.thing()}"
    else:
        noun = draw.phrase(THINGS, number, "{}")
        sentence = f"{draw.person()} {draw.pick(TRANSITIVE).past} {noun} {draw.pick(ADVERBS)}"
    good, bad = (sentence.format(determiner) for determiner in determiners)
    return good, bad


def anaphor_agreement(draw: Draw) -> Pair:
    nouns, number, reflexive = draw.pick(
        ((MALE, SINGULAR, "himself"), (FEMALE, SINGULAR, "herself"), (PEOPLE, PLURAL, "themselves"))
    )
    clause = draw.phrase(nouns, number)
    if draw.chance(0.5):
        clause = f"{clause} {draw.modifier()}"
    clause = f"{clause} {draw.pick(REFLEXIVE).past}"
    return f"{clause} {reflexive}", f"{clause} {draw.pick_other(REFLEXIVES, reflexive)}"


def argument_structure(draw: Draw) -> Pair:
    """Too few or too many arguments: an intransitive verb changes place with one that needs an object or two."""
    intransitive = draw.pick(INTRANSITIVE).past
    verbs, arguments = draw.pick(
        (
            (TRANSITIVE, draw.thing()),
            (DITRANSITIVE, f"{draw.person()} {draw.phrase(THINGS, SINGULAR, 'a')}"),
            (PUT, f"{draw.thing()} in {draw.phrase(PLACES, SINGULAR)}"),
        )
    )
    verb = draw.pick(verbs).past
    subject, adverb = draw.person(), draw.pick(ADVERBS)
    if draw.chance(0.5):
        return f"{subject} {intransitive} {adverb}", f"{subject} {verb} {adverb}"
    return f"{subject} {verb} {arguments} {adverb}", f"{subject} {intransitive} {arguments} {adverb}"


def _knew(draw: Draw) -> str:
    nominative, _ = draw.pick(PRONOUNS)
    return f"{nominative} {draw.pick(KNOW)}"


def filler_gap(draw: Draw) -> Pair:
    """A question word needs a gap, and a gap needs a question word."""
    knew, clause = _knew(draw), f"{draw.person()} {draw.pick(TRANSITIVE).past}"
    question_word = draw.pick(("who", "what"))
    if draw.chance(0.5):
        return f"{knew} {question_word} {clause}", f"{knew} that {clause}"
    clause = f"{clause} {draw.thing()}"
    return f"{knew} that {clause}", f"{knew} {question_word} {clause}"


def _island(draw: Draw, bridge: str, island: str) -> Pair:
    """A question word may leave the clause after `bridge`, not the one after `island`.

    The two further kinds of pairs (the island with no extraction is fine, the bridge with a filler or a gap alone is
    not) make bridge and island, question word and `that`, gap and object equally frequent in both halves.
    """
    knew, question_word = _knew(draw), draw.pick(("who", "what"))
    subject, verb, thing = draw.person(), draw.pick(TRANSITIVE).past, draw.thing()
    extraction = f"{knew} {question_word} {subject} {bridge} {verb}"
    return draw.pick(
        (
            (extraction, f"{knew} {question_word} {subject} {island} {verb}"),
            (extraction, f"{extraction} {thing}"),
            (f"{knew} that {subject} {island} {verb} {thing}", f"{knew} that {subject} {bridge} {verb}"),
        )
    )


def wh_island(draw: Draw) -> Pair:
    return _island(draw, f"{draw.pick(BRIDGE)} that {draw.person()}", f"{draw.pick(ASK)} who")


def complex_np_island(draw: Draw) -> Pair:
    report, clause = draw.pick(REPORT), f"that {draw.person()}"
    return _island(draw, f"{report} {clause}", f"{report} the {draw.pick(RUMOR)} {clause}")


def adjunct_island(draw: Draw) -> Pair:
    subject = draw.person()
    adjunct = f"{draw.pick(INTRANSITIVE).past} {draw.pick(CONJUNCTIONS)} {subject}"
    return _island(draw, f"{draw.pick(BRIDGE)} that {subject}", adjunct)


def npi_licensing(draw: Draw) -> Pair:
    """`ever` and `yet` need a negative determiner on the subject itself; one inside its modifier does not count."""
    determiner = draw.pick(("no", "few"))
    number = PLURAL if determiner == "few" else draw.number()
    link = draw.pick((draw.pick(PREPOSITIONS), f"that {draw.pick(TRANSITIVE).past}"))
    nouns = f"{draw.person(number, '{}')} {link} {draw.person(number, '{}')}"
    have, participle = HAVE[number], draw.pick(INTRANSITIVE).participle
    predicate = draw.pick((f"{have} ever {participle}", f"{have} {participle} yet"))
    return f"{nouns.format(determiner, 'the')} {predicate}", f"{nouns.format('the', determiner)} {predicate}"


def auxiliary_form(draw: Draw) -> Pair:
    """The auxiliary decides about the form of the verb."""
    number = draw.number()
    verb, rest = draw.pick(((draw.pick(INTRANSITIVE), draw.pick(ADVERBS)), (draw.pick(TRANSITIVE), draw.thing())))
    auxiliaries = (
        (HAVE[number], verb.participle),
        (BE[number], verb.gerund),
        (draw.pick(MODALS), verb.present[PLURAL]),
    )
    good, form = right = draw.pick(auxiliaries)
    bad, _ = draw.pick_other(auxiliaries, right)
    subject = draw.person(number)
    return f"{subject} {good} {form} {rest}", f"{subject} {bad} {form} {rest}"


def word_order(draw: Draw) -> Pair:
    """The same words with two neighbours exchanged."""
    number = draw.number()
    subject = f"the {draw.pick(ADJECTIVES)} {draw.pick(PEOPLE)[number]}"
    verb, place = draw.pick(INTRANSITIVE).participle, draw.pick(PLACES)[SINGULAR]
    words = f"{subject} {HAVE[number]} {verb} {draw.pick(PREPOSITIONS)} the {place}".split()
    left = draw.pick((0, 1, 2, 3, 4, 6))  # not 5: in "the near garden" `near` may be an adjective
    swapped = [*words[:left], words[left + 1], words[left], *words[left + 2 :]]
    return " ".join(words), " ".join(swapped)


def pronoun_case(draw: Draw) -> Pair:
    nominative, accusative = draw.pick(PRONOUNS)
    person, verb, thing = draw.person(), draw.pick(TRANSITIVE).past, draw.thing()
    if draw.chance(0.5):
        sentence = draw.pick((f"{{}} {verb} {thing}", f"{person} {draw.pick(BRIDGE)} that {{}} {verb} {thing}"))
        return sentence.format(nominative), sentence.format(accusative)
    sentence = draw.pick((f"{person} {verb} {{}}", f"{person} {draw.pick(PREPOSITIONS)} {{}} {verb} {thing}"))
    return sentence.format(accusative), sentence.format(nominative)


def existential_there(draw: Draw) -> Pair:
    """`there is` takes a weak determiner, `almost` a strong one; `there is` agrees with the noun after it."""
    number = draw.number()
    weak, strong = WEAK_DETERMINERS[number], STRONG_DETERMINERS[number]
    be, noun = draw.pick((BE, BE_PAST)), draw.person(number, "{}")
    rest = f"{draw.pick(PREPOSITIONS)} {draw.phrase(PLACES, SINGULAR)}"
    kind = draw.pick(("agreement", "there", "almost"))
    if kind == "agreement":
        rest = f"{noun.format(weak)} {rest}"
        return f"there {be[number]} {rest}", f"there {be[1 - number]} {rest}"
    if kind == "there":
        sentence = f"there {be[number]} {noun} {rest}"
        return sentence.format(weak), sentence.format(strong)
    sentence = f"almost {noun} {rest} {draw.pick(INTRANSITIVE).past}"
    return sentence.format(strong), sentence.format(weak)


PHENOMENA: dict[str, Rule] = {
    "subject_verb_agreement": subject_verb_agreement,
    "agreement_attraction": agreement_attraction,
    "determiner_noun_agreement": determiner_noun_agreement,
    "anaphor_agreement": anaphor_agreement,
    "argument_structure": argument_structure,
    "filler_gap": filler_gap,
    "wh_island": wh_island,
    "complex_np_island": complex_np_island,
    "adjunct_island": adjunct_island,
    "npi_licensing": npi_licensing,
    "auxiliary_form": auxiliary_form,
    "word_order": word_order,
    "pronoun_case": pronoun_case,
    "existential_there": existential_there,
}
