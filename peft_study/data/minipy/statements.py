"""Answers of one or two lines that change a variable or bind a new one."""

from peft_study.data.minipy import sequences
from peft_study.data.minipy.drafts import MAPPINGS, NUMBER_LISTS, TARGETS, Draft, Piece, Source, draw, fill, mention

CHANGES = (
    Piece("append", ("append {k} to {x}", "add {k} to the end of {x}"), "{x}.append({k})", 60),
    Piece("insert", ("insert {k} at the front of {x}", "put {k} at the start of {x}"), "{x}.insert(0, {k})", 40),
    Piece("extend", ("extend {x} with '{y}'", "add all elements of '{y}' to {x}"), "{x}.extend({y})", 40),
    Piece("sort it", ("sort {x} in place",), "{x}.sort()", 50),
    Piece("sort down", ("sort {x} in place in descending order",), "{x}.sort(reverse=True)", 3),
    Piece("flip", ("reverse {x} in place",), "{x}.reverse()", 40),
    Piece("drop last", ("drop the last element of {x}", "remove the last element of {x}"), "{x}.pop()", 40),
    Piece("drop first", ("drop the first element of {x}", "remove the first element of {x}"), "{x}.pop(0)", 40),
    Piece("clear", ("clear {x}",), "{x}.clear()", 0),
)
DICT_CHANGES = (
    Piece("set key", ("set key '{key}' of {x} to {k}", "store {k} under '{key}' in {x}"), "{x}['{key}'] = {k}", 50),
    Piece(
        "increase",
        ("increase '{key}' in {x} by {k}", "add {k} to the value of '{key}' in {x}"),
        "{x}['{key}'] += {k}",
        40,
    ),
    Piece("delete", ("delete key '{key}' from {x}", "remove '{key}' from {x}"), "del {x}['{key}']", 40),
)
SUMMARIES = (
    Piece("sum of", ("sum of {x}",), "sum({x})", 40),
    Piece("largest of", ("maximum of {x}",), "max({x})", 40),
    Piece("smallest of", ("minimum of {x}",), "min({x})", 40),
    Piece("length of", ("length of {x}",), "len({x})", 40),
    Piece("first of", ("first element of {x}",), "{x}[0]", 3),
    Piece("last of", ("last element of {x}",), "{x}[-1]", 3),
)


def changes(rng: Source) -> Draft:
    """Change a list or a dictionary, in one or two steps."""
    numbers = rng.random() < 0.65
    pieces = CHANGES if numbers else DICT_CHANGES
    name = rng.choice(NUMBER_LISTS if numbers else MAPPINGS)
    other = rng.choice([candidate for candidate in NUMBER_LISTS if candidate != name])
    steps = [draw(rng, pieces)]
    if rng.random() < 0.65:
        steps.append(draw(rng, [piece for piece in pieces if piece != steps[0] or not numbers]))
    keys = rng.sample(("a", "b", "id", "total", "max", "x"), len(steps))
    phrases, lines = [], []
    for position, (step, key) in enumerate(zip(steps, keys, strict=True)):
        fields = {"k": rng.randint(0, 9), "y": other, "key": key}
        phrase = rng.choice(step.phrases)
        mentioned = "it" if position else mention(rng, name, "list" if numbers else "dict")
        phrases.append(fill(phrase, x=mentioned, **fields))
        lines.append(fill(step.code, x=name, **fields))
    variables: list[tuple[str, str]] = [(name, "ints" if numbers else "mapping")]
    if any("{y}" in step.code for step in steps):
        variables.append((other, "ints"))
    answer = "\n".join(lines)
    instruction = rng.choice((" and ", ", then ")).join(phrases)
    return Draft(instruction, answer, tuple(step.name for step in steps), tuple(variables), name)


def bindings(rng: Source) -> Draft:
    """Bind one or two new variables to properties of a list."""
    targets = rng.sample(TARGETS, 2)
    if rng.random() < 0.4:
        source = sequences.slicing(rng) if rng.random() < 0.5 else sequences.comprehension(rng)
        instruction = f"{source.instruction} and store the result in '{targets[0]}'"
        answer = f"{targets[0]} = {source.answer}"
        return Draft(instruction, answer, ("bind", *source.pieces), source.variables, targets[0])
    name = rng.choice(NUMBER_LISTS)
    first = draw(rng, SUMMARIES)
    second = draw(rng, [piece for piece in SUMMARIES if piece != first])
    mentioned = mention(rng, name, "list")
    instruction = fill(
        rng.choice(("set '{a}' to the {p} and '{b}' to the {q}", "store the {p} in '{a}' and the {q} in '{b}'")),
        a=targets[0],
        b=targets[1],
        p=fill(first.phrases[0], x=mentioned),
        q=fill(second.phrases[0], x="it"),
    )
    answer = f"{targets[0]} = {fill(first.code, x=name)}\n{targets[1]} = {fill(second.code, x=name)}"
    return Draft(instruction, answer, (first.name, second.name), ((name, "ints"),), f"({targets[0]}, {targets[1]})")
