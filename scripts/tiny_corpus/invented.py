"""Operations invented for one document: random wordings tied to random code, so that only copying from context helps.

Most are built from parts: a filter, a mapping and an outcome, or a sequence of steps. A model that has seen two parts
in different examples should learn to combine them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tiny_corpus.words import ADJECTIVES, COMMON, IDENTIFIERS, LINKERS, METHODS, NAMES, NOUNS, VERBS

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SIGNS = (",", "-", ":", ";", "/", "=", "; ", ", ", ".", "+", "_", "|")
OPERATORS = (
    " + ",
    " - ",
    " * ",
    " // ",
    " % ",
    " ** ",
    " > ",
    " < ",
    " >= ",
    " <= ",
    " == ",
    " != ",
    " & ",
    " | ",
    " ^ ",
)
COMPARISONS = OPERATORS[6:]
VALUE = re.compile(r"\{(?:[ckmty]|np)\}")
# In code, F, G and M stand for a function, a built-in and a method, A for a further argument, O for an operator, N for
# a number that the document fixes, V for the loop's variable.
OUTCOMES = (
    *("F({e})", "F({e})", "F({e})", "F({e}A)", "F({e}A)", "{e}.M()", "'{c}'.M({e})", "{e}[0]", "{e}[-1]", "{e}[{k}]"),
    *("{e}[:{k}]", "{e}[-{k}:]", "{e}[::{k}]", "F(G({e}))", "{e}O{k}", "not {e}", "({e}, {k})", "F(G({e}), {k})"),
    *("F([{e}])", "{e}"),
)
MAPPINGS = (
    *("VO2", "VO3", "VON", "F(V)", "F(V)", "V.M()", "V.M()", "V[0]", "V[-1]", "V[::-1]", "V.M(N)", "F(V, N)", "-V"),
)
CONDITIONS = (
    *(" if VO{k}", " if VO{k}", " if V % {k} == 0", " if V % 2 == N", " if VON", " if VON", " if V.M('{c}')"),
    *(" if V.M()", " if '{c}' in V", " if F(V)O{k}", " if F(V)", " if not V.M('{c}')", " if V[0] == '{c}'"),
    " if '{c}' not in V",
)
STATEMENTS = (
    *("{x}.M({k})", "{x}.M()", "{x}.M(0, {k})", "{x}.M('{c}')", "{x}['{c}'] = {k}", "{x}['{c}'] += {k}"),
    *("del {x}['{c}']", "{x}[{k}] = {m}", "{x} += {k}", "{x}.M(reverse=True)", "F({x}, {k})", "{x} = F({x})"),
    "{x}.M({y})",
)
LINKS = (
    *("{x}.M()", "{x}.M()", "{x}.M('{c}')", "{x}.M({k})", "{x}[::-1]", "{x}[:{k}]", "{x}[{k}:]", "F({x})"),
    *("{x}.M('{c}', '{t}')", "{x}.M('{c}', '')", "{x}.M('{c}', {k})", "{x}[{k}]", "F({x}, {k})"),
)
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Part:
    """A wording and its code. Every example fills the "{...}" fields with new values."""

    phrase: str
    code: str


def put(template: str, **fields: object) -> str:
    """Fill "{...}" fields, and leave the other braces of the code alone."""
    for name, value in fields.items():
        template = template.replace("{" + name + "}", str(value))
    return template


def values(rng: Random) -> dict[str, str]:
    """Draw the values that an example fills into its wording and its code."""
    return {
        "k": str(rng.randint(0, 9)) if rng.random() < 0.85 else str(rng.randint(10, 99)),
        "m": str(rng.randint(0, 9)),
        "c": rng.choice(LETTERS) if rng.random() < 0.6 else rng.choice(SIGNS) if rng.random() < 0.5 else name(rng),
        "t": rng.choice(LETTERS),
    }


def name(rng: Random) -> str:
    """Invent a variable's name."""
    chosen = rng.choice(IDENTIFIERS)
    if rng.random() < 0.15:
        chosen = rng.choice(NOUNS) if rng.random() < 0.6 else chosen + "_" + rng.choice(NOUNS)
    return chosen


def noun(rng: Random) -> str:
    return rng.choice(NOUNS if rng.random() < 0.5 else COMMON)


def adjective(rng: Random) -> str:
    return rng.choice(ADJECTIVES if rng.random() < 0.6 else COMMON)


def verb(rng: Random) -> str:
    return rng.choice(VERBS if rng.random() < 0.8 else NAMES)


def callee(rng: Random, phrase: str) -> str:
    """Name a function: often a word of the wording, otherwise any."""
    words = [word for word in phrase.split() if word.isalpha() and word not in LINKERS and len(word) > 2]
    if words and rng.random() < 0.35:
        return rng.choice(words)
    return rng.choice(NAMES if rng.random() < 0.7 else METHODS if rng.random() < 0.5 else VERBS)


def method(rng: Random, phrase: str) -> str:
    words = [word for word in phrase.split() if word.isalpha() and word not in LINKERS and len(word) > 2]
    return rng.choice(words) if words and rng.random() < 0.35 else rng.choice(METHODS if rng.random() < 0.8 else VERBS)


def extra(rng: Random) -> str:
    """Invent a further argument of a call."""
    arguments = (
        ", {k}",
        ", '{c}'",
        ", reverse=True",
        ", key=len",
        f", key={rng.choice(NAMES)}",
        f", {rng.choice(NAMES)}={{k}}",
        f", key=lambda {rng.choice('abnwxyz')}: {{z}}[{rng.choice(('0', '1', '-1', '::-1'))}]",
        ", default=0",
    )
    return rng.choice(arguments).replace("{z}", "v").replace("lambda a", "lambda v")


def needs(code: str) -> str:
    """Mention the values that the code uses, so that a model can copy them from the instruction."""
    told = []
    if "{c}" in code:
        told.append("'{c}'")
    if "{k}" in code:
        told.append("{k}")
    if "{m}" in code:
        told.append("{m}")
    if "{t}" in code:
        told.append("'{t}'")
    return f" {{link}} {' and '.join(told)}" if told else ""


def outcome(rng: Random) -> Part:
    """Invent a use of "{e}", worded around "{np}"."""
    first = verb(rng)
    heads = (
        f"{first} {{np}}",
        f"{first} the {noun(rng)} of {{np}}",
        f"{first} {{np}} {rng.choice(LINKERS)} {noun(rng)}",
        f"{first} {{np}} {rng.choice(LINKERS)} {adjective(rng)} {noun(rng)}",
        f"{first} a {noun(rng)} of {{np}}",
        f"{first} {rng.choice(LINKERS)} {{np}}",
        f"{first} {rng.choice(LINKERS)} {{np}} {rng.choice(LINKERS)} {adjective(rng)}",
    )
    head = rng.choice(heads)
    function = callee(rng, head)
    code = rng.choice(OUTCOMES)
    code = code.replace("F", function).replace("G", rng.choice(NAMES)).replace("M", method(rng, head))
    code = code.replace("A", extra(rng)).replace("O", rng.choice(OPERATORS))
    return Part(head + put(needs(code), link=rng.choice(LINKERS)), code)


def mapping(rng: Random, letter: str) -> Part:
    """Invent an operation on each element, worded around "{np}"."""
    heads = (
        f"{noun(rng)} of {{np}}",
        f"{adjective(rng)} {noun(rng)} of {{np}}",
        f"{noun(rng)} {rng.choice(LINKERS)} {{np}}",
    )
    head = rng.choice(heads)
    code = rng.choice(MAPPINGS).replace("V", letter).replace("O", rng.choice(OPERATORS))
    code = code.replace("N", str(rng.randint(0, 9)))
    return Part(head, code.replace("F", callee(rng, head)).replace("M", method(rng, head)))


def condition(rng: Random, letter: str) -> Part:
    """Invent a filter, worded as an adjective before "{noun}" or as a clause after "{x}"."""
    code = rng.choice(CONDITIONS)
    a, b, link = adjective(rng), noun(rng), rng.choice(LINKERS)
    heads = (
        f"{a} {{noun}} {{in}} {{x}}",
        f"{{noun}} {{in}} {{x}} {link} {a}",
        f"{{noun}} {{in}} {{x}} {a} {rng.choice(LINKERS)}",
        f"{{noun}} {{in}} {{x}} {link} {rng.choice(LINKERS)} {b}",
        f"{b} {{in}} {{x}}",
    )
    head = rng.choice(heads)
    code = code.replace("V", letter).replace("O", rng.choice(COMPARISONS)).replace("N", str(rng.randint(0, 3)))
    code = code.replace("F", callee(rng, head)).replace("M", method(rng, head))
    told = needs(code)
    if told and head.startswith(b):
        return Part(put(f"{b} {{link}}", link=rng.choice(LINKERS)) + told.removeprefix(" {link}") + " {in} {x}", code)
    before = rng.choice(("", link, rng.choice(ADJECTIVES) + " " + rng.choice(LINKERS)))
    return Part(head + told.replace("{link}", before).replace("  ", " "), code)


def step(rng: Random, statement: bool) -> Part:
    """Invent one step on "{x}", a statement or a link in a chain."""
    first = verb(rng)
    heads = (
        f"{first} {{x}}",
        f"{first} {{x}} {rng.choice(LINKERS)} {noun(rng)}",
        f"{first} {rng.choice(LINKERS)} {{x}}",
        f"{first} the {noun(rng)} of {{x}}",
        f"{first} the {adjective(rng)} {noun(rng)} {rng.choice(LINKERS)} {{x}}",
    )
    head = rng.choice(heads)
    code = rng.choice(STATEMENTS if statement else LINKS)
    code = code.replace("F", callee(rng, head)).replace("M", method(rng, head))
    told = needs(code) + (" {link} '{y}'" if "{y}" in code else "")
    if told and rng.random() < 0.5:
        return Part(head.replace("{x}", put(told, link="").strip() + " " + rng.choice(LINKERS) + " {x}"), code)
    return Part(head + put(told, link=rng.choice(LINKERS)), code)


def told(rng: Random, variable: str, kinds: Sequence[str]) -> str:
    """Mention a variable: quoted, sometimes behind its kind."""
    kind = rng.choice(kinds)
    return rng.choice((f"'{variable}'", f"'{variable}'", f"{kind} '{variable}'", f"the {kind} '{variable}'"))
