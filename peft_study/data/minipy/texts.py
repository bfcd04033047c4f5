"""Operations on one string: chains of methods, each intent naming the steps in order."""

from peft_study.data.minipy.drafts import LETTERS, TEXTS, Draft, Piece, Source, draw, fill, mention

STEPS = (
    Piece("strip", ("strip {x}", "trim the white space around {x}"), "{x}.strip()", 50),
    Piece("lower", ("convert {x} to lower case", "lowercase {x}"), "{x}.lower()", 50),
    Piece("upper", ("convert {x} to upper case", "uppercase {x}"), "{x}.upper()", 50),
    Piece(
        "replace",
        ("replace '{c}' with '{t}' in {x}", "change every '{c}' in {x} to '{t}'"),
        "{x}.replace('{c}', '{t}')",
        50,
    ),
    Piece("remove", ("remove every '{c}' from {x}", "delete all '{c}' in {x}"), "{x}.replace('{c}', '')", 3),
    Piece("reverse", ("reverse {x}", "turn {x} backwards"), "{x}[::-1]", 40),
    Piece("title", ("convert {x} to title case",), "{x}.title()", 3),
    Piece("shorten", ("cut {x} to {k} characters", "keep the first {k} characters of {x}"), "{x}[:{k}]", 40),
    Piece("repeat", ("repeat {x} {k} times",), "{x} * {k}", 3),
    Piece("casefold", ("casefold {x}",), "{x}.casefold()", 0),
)
ENDS = (
    Piece("split", ("split {x} on '{sep}'", "split {x} at every '{sep}'"), "{x}.split('{sep}')", 60),
    Piece("split once", ("split {x} at the first '{sep}' only",), "{x}.split('{sep}', 1)", 3),
    Piece("split words", ("split {x} into words",), "{x}.split()", 40),
    Piece("characters", ("get the list of characters of {x}",), "list({x})", 3),
    Piece("letters", ("get the set of characters of {x}",), "set({x})", 3),
    Piece("length", ("get the length of {x}", "count the characters of {x}"), "len({x})", 40),
    Piece("occurrences", ("count '{c}' in {x}", "find how often '{c}' occurs in {x}"), "{x}.count('{c}')", 40),
    Piece("find", ("find the index of '{c}' in {x}",), "{x}.find('{c}')", 3),
    Piece(
        "starts", ("check whether {x} starts with '{c}'", "test if {x} begins with '{c}'"), "{x}.startswith('{c}')", 40
    ),
    Piece("ends", ("check whether {x} ends with '{c}'",), "{x}.endswith('{c}')", 3),
    Piece("digits", ("check whether {x} has only digits",), "{x}.isdigit()", 3),
    Piece("rfind", ("rfind '{c}' in {x}",), "{x}.rfind('{c}')", 0),
    Piece("partition", ("partition {x} at '{sep}'",), "{x}.partition('{sep}')", 0),
)


def chain(rng: Source) -> Draft:
    """One to three steps on a string; the last one may return another type."""
    steps_before = rng.choices((0, 1, 2), weights=(2, 5, 3))[0]
    steps: list[Piece] = []
    while len(steps) < steps_before:
        step = draw(rng, STEPS)
        if step not in steps:
            steps.append(step)
    steps.append(draw(rng, ENDS) if rng.random() < 0.6 or not steps else draw(rng, STEPS))
    name = rng.choice(TEXTS)
    code, phrases = name, []
    for position, step in enumerate(steps):
        old, new = rng.sample(LETTERS, 2)
        fields = {"c": old, "t": new, "k": rng.randint(2, 6), "sep": rng.choice((",", ":", "-", ";", "/", "="))}
        mentioned = "it" if position else mention(rng, name, "string")
        phrases.append(fill(rng.choice(step.phrases), x=mentioned, **fields))
        # A method binds more tightly than "*".
        inner = f"({code})" if " * " in code else code
        code = fill(step.code, x=inner if step.code.startswith("{x}") else code, **fields)
    joined = phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " and " + phrases[-1]
    pieces = tuple(step.name for step in reversed(steps))
    return Draft(joined, code, pieces, ((name, "text"),))
