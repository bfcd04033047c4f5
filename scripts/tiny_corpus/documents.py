"""Documents of instruction and response pairs: invented operations, and operations with a fixed meaning."""

import ast
import warnings
from collections.abc import Callable
from random import Random

from tiny_corpus import invented
from tiny_corpus.fixed import fixed_pair
from tiny_corpus.heldout import HeldOut
from tiny_corpus.invented import Pair, Part, put, told
from tiny_corpus.words import LINKERS, NAMES, VERBS

KINDS = ("list", "string", "dict", "dictionary", "array", "set", "table", "value", "sequence")
Maker = Callable[[], Pair]


def comprehension_maker(rng: Random) -> Maker:
    """Invent outcomes, mappings and filters; every pair combines one of each."""
    letter = rng.choice("nwvxickpe")
    outcomes = [invented.outcome(rng) for _ in range(rng.randint(2, 5))]
    mappings = [Part("{np}", letter)] + [invented.mapping(rng, letter) for _ in range(rng.randint(1, 4))]
    filters = [invented.condition(rng, letter) for _ in range(rng.randint(2, 4))]
    if rng.random() < 0.5:
        filters.append(Part("{noun} {in} {x}", ""))
    nouns = [invented.noun(rng) + rng.choice(("", "s")) for _ in range(2)]
    shape = rng.choice(("[B]", "B", "[B]", "{B}")) if rng.random() < 0.8 else "{B}"
    source = rng.choice(("{x}", "{x}", "{x}", "{x}.items()", "range({x})"))
    target = f"{letter}, {letter}{letter}" if source.endswith("items()") else letter
    inside = rng.choice(("in", "in", "of", "from"))
    kinds = rng.sample(KINDS, 2)

    def make() -> Pair:
        outcome, change, keep = rng.choice(outcomes), rng.choice(mappings), rng.choice(filters)
        variable, inner_fields, fields = invented.name(rng), invented.values(rng), invented.values(rng)
        body = f"{change.code} for {target} in {source}{keep.code}"
        whole = outcome.code.startswith(("{e}", "not", "("))
        inner = shape.replace("B", body) if whole or shape != "B" else body
        phrase = change.phrase.replace("{np}", f"the {keep.phrase}")
        phrase = phrase if phrase.startswith("the ") else f"the {phrase}"
        phrase = put(phrase, **{"in": inside}, x=told(rng, variable, kinds), noun=rng.choice(nouns), **inner_fields)
        words = put(put(outcome.phrase, **fields), np=phrase)
        return words, put(put(outcome.code, **fields), e=put(inner, x=variable, **inner_fields), x=variable)

    return make


def nested_maker(rng: Random) -> Maker:
    """Invent outcomes of a part, or of two variables that an operation joins."""
    outcomes = [Part("{np}", "{e}")] if rng.random() < 0.5 else []
    outcomes += [invented.outcome(rng) for _ in range(rng.randint(2, 5))]
    pair = rng.random() < 0.4
    inner: list[Part] = []
    for _ in range(rng.randint(2, 5)):
        if pair:
            link, operator = rng.choice(LINKERS), rng.choice(invented.OPERATORS)
            wrap = rng.choice(("{x}O{y}", "{x}O{y}", "F({x})OF({y})", "F({x}, {y})", "{x}.F({y})"))
            wordings = (
                f"{{x}} {link} {{y}}",
                f"the {invented.noun(rng)} of {{x}} and {{y}}",
                f"{invented.noun(rng)} {link} {{x}} {rng.choice(LINKERS)} {{y}}",
            )
            words = rng.choice(wordings)
            inner.append(Part(words, wrap.replace("O", operator).replace("F", rng.choice(NAMES))))
        else:
            part = invented.outcome(rng)
            words = part.phrase.split(" ", 1)[1] if rng.random() < 0.8 else part.phrase
            inner.append(Part(words.replace("{np}", "{x}"), part.code.replace("{e}", "{x}")))
    kinds = rng.sample(KINDS, 2)

    def make() -> Pair:
        outcome, part = rng.choice(outcomes), rng.choice(inner)
        variable, second = invented.name(rng), invented.name(rng)
        inner_fields, fields = invented.values(rng), invented.values(rng)
        phrase = put(part.phrase, x=told(rng, variable, kinds), y=f"'{second}'", **inner_fields)
        code = put(part.code, x=variable, y=second, **inner_fields)
        return put(put(outcome.phrase, **fields), np=phrase), put(put(outcome.code, **fields), e=code, x=variable)

    return make


def steps_maker(rng: Random) -> Maker:
    """Invent steps on a variable. Every pair takes one to three of them, in the order of its wording."""
    statement = rng.random() < 0.4
    steps = [invented.step(rng, statement) for _ in range(rng.randint(3, 6))]
    join = rng.choice((" and ", " and ", ", then ", " then "))
    kinds = rng.sample(KINDS, 2)
    most = 2 if statement else 3

    def make() -> Pair:
        chosen = [rng.choice(steps) for _ in range(rng.randint(1, most))]
        variable, other = invented.name(rng), invented.name(rng)
        words, lines, code = [], [], variable
        for position, step in enumerate(chosen):
            fields = invented.values(rng)
            words.append(put(step.phrase, x="it" if position else told(rng, variable, kinds), y=other, **fields))
            if statement:
                lines.append(put(step.code, x=variable, y=other, **fields))
            else:
                code = put(step.code, x=code, **fields)
        text = words[0] if len(words) == 1 else ", ".join(words[:-1]) + join + words[-1]
        return text, "\n".join(lines) if statement else code

    return make


def bound(rng: Random, make: Maker) -> Maker:
    """Sometimes assign the outcome to a new name, in a wording that the document invents."""
    link, verb, it = rng.choice(LINKERS), rng.choice(VERBS), rng.choice(("it", "that", "this"))
    words = f"{link} {verb} {it} {rng.choice(LINKERS)}"

    def make_bound() -> Pair:
        text, code = make()
        if "\n" in code or rng.random() < 0.6:
            return text, code
        target = invented.name(rng)
        return f"{text} {words} '{target}'", f"{target} = {code}"

    return make_bound


SHORT = 5
"""Documents of at most this many pairs give little to copy from context, so more of them use fixed meanings."""
MAKERS = (comprehension_maker, comprehension_maker, nested_maker, steps_maker)


def parses(code: str) -> bool:
    """Whether invented code is valid Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            ast.parse(code)
        except (SyntaxError, SyntaxWarning):
            return False
    return True


def document(rng: Random, pairs: int, held_out: HeldOut) -> list[Pair]:
    """Draw a document, whose pairs share invented operations or have fixed meanings.

    Args:
        rng: the source of randomness.
        pairs: number of pairs.
        held_out: refuses pairs that belong to minipy.
    """
    if rng.random() < (0.5 if pairs <= SHORT else 0.2):
        makers: list[Maker] = [lambda: fixed_pair(rng)]
    else:
        makers = [rng.choice(MAKERS)(rng) for _ in range(rng.choice((1, 1, 2)))]
        if rng.random() < 0.2:
            makers[0] = bound(rng, makers[0])
        if rng.random() < 0.1:
            makers.append(lambda: fixed_pair(rng))
    drawn: list[Pair] = []
    for _ in range(20 * pairs):
        pair = rng.choice(makers)()
        if len(pair[0]) < 170 and len(pair[1]) < 110 and held_out.allows(*pair) and parses(pair[1]):
            drawn.append(pair)
            if len(drawn) == pairs:
                break
    return drawn
