"""Operations on dictionaries, sets and plain numbers."""

from peft_study.data.minipy.drafts import MAPPINGS, NUMBER_LISTS, SCALARS, Draft, Piece, Source, draw, fill, mention

KEYS = ("a", "b", "id", "total", "max", "x", "name", "size")
ENTRIES = (
    Piece("lookup", ("get the value of key '{key}' in {x}", "look up '{key}' in {x}"), "{x}['{key}']", 50),
    Piece(
        "default",
        ("get key '{key}' of {x} or {k} if it is missing", "look up '{key}' in {x} with default {k}"),
        "{x}.get('{key}', {k})",
        50,
    ),
    Piece("member", ("check whether {x} has the key '{key}'", "test if '{key}' is a key of {x}"), "'{key}' in {x}", 40),
    Piece("entries", ("count the entries of {x}", "get the number of keys in {x}"), "len({x})", 40),
    Piece("top key", ("get the key of {x} with the largest value",), "max({x}, key={x}.get)", 30),
    Piece("low key", ("get the key of {x} with the smallest value",), "min({x}, key={x}.get)", 3),
    Piece(
        "ranked",
        ("list the keys of {x} ordered by value", "sort the keys of {x} by value"),
        "sorted({x}, key={x}.get)",
        30,
    ),
    Piece(
        "ranked down",
        ("list the keys of {x} by value in descending order",),
        "sorted({x}, key={x}.get, reverse=True)",
        3,
    ),
    Piece("inverse", ("swap the keys and values of {x}", "invert {x}"), "{v: k for k, v in {x}.items()}", 3),
    Piece("pairs", ("get the list of key and value pairs of {x}",), "list({x}.items())", 3),
)
GATHERED = (
    Piece(
        "dict list",
        ("get a list of {np}", "list {np}", "collect {np} in a list"),
        "[{e} for k, v in {x}.items(){f}]",
        50,
    ),
    Piece(
        "dict set", ("get the set of {np}", "collect {np} without duplicates"), "{{e} for k, v in {x}.items(){f}}", 3
    ),
    Piece("dict sort", ("sort {np}", "list {np} in ascending order"), "sorted({e} for k, v in {x}.items(){f})", 30),
    Piece("dict count", ("count {np}",), "len([{e} for k, v in {x}.items(){f}])", 40),
)
PARTS = (
    Piece("keys", ("keys of {x}",), "k", 50),
    Piece("values", ("values of {x}",), "v", 50),
    Piece("doubled", ("doubles of the values of {x}",), "v * 2", 3),
    Piece("key lengths", ("lengths of the keys of {x}",), "len(k)", 3),
)
CONDITIONS = (
    Piece("value above", (" whose value is greater than {k}", " with a value above {k}"), " if v > {k}", 50),
    Piece("value below", (" whose value is less than {k}", " with a value below {k}"), " if v < {k}", 40),
    Piece("value equal", (" whose value is {k}",), " if v == {k}", 3),
    Piece("value even", (" with an even value", " whose value is even"), " if v % 2 == 0", 30),
    Piece("key starts", (" whose key starts with '{c}'",), " if k.startswith('{c}')", 3),
)
SET_PAIRS = (
    Piece("common", ("elements common to {x} and {y}", "elements that {x} and {y} share"), "set({x}) & set({y})", 50),
    Piece("united", ("elements in {x} or {y}", "union of {x} and {y}"), "set({x}) | set({y})", 50),
    Piece("missing", ("elements in {x} but not in {y}", "difference of {x} and {y}"), "set({x}) - set({y})", 40),
    Piece("single", ("elements in exactly one of {x} and {y}",), "set({x}) ^ set({y})", 3),
)
SET_RESULTS = (
    Piece("as set", ("get the {np}", "find the {np}"), "{e}", 60),
    Piece("as sorted", ("sort the {np}", "list the {np} in ascending order"), "sorted({e})", 40),
    Piece("how many", ("count the {np}",), "len({e})", 40),
    Piece("summed", ("sum the {np}", "add up the {np}"), "sum({e})", 3),
    Piece("largest", ("get the largest of the {np}",), "max({e}, default=0)", 3),
    Piece("frozenset", ("get the frozenset of the {np}",), "frozenset({e})", 0),
)
AMOUNTS = (
    Piece("plus", ("{x} plus {y}", "the sum of {x} and {y}"), "{x} + {y}", 50),
    Piece("minus", ("{x} minus {y}", "{y} subtracted from {x}"), "{x} - {y}", 50),
    Piece("times", ("{x} times {y}", "the product of {x} and {y}"), "{x} * {y}", 50),
    Piece("remainder", ("the remainder of {x} divided by {y}", "{x} modulo {y}"), "{x} % {y}", 40),
    Piece("quotient", ("the integer quotient of {x} and {y}",), "{x} // {y}", 3),
    Piece("power", ("{x} to the power of {y}",), "{x} ** {y}", 3),
)
AMOUNT_RESULTS = (
    Piece("amount", ("compute {np}", "calculate {np}"), "{e}", 70),
    Piece("magnitude", ("compute the absolute value of {np}",), "abs({e})", 30),
    Piece("text of", ("convert {np} to a string",), "str({e})", 3),
    Piece("even test", ("check whether {np} is even",), "({e}) % 2 == 0", 30),
    Piece("above test", ("check whether {np} is greater than {k}", "test if {np} exceeds {k}"), "{e} > {k}", 40),
    Piece("floor", ("compute {np} but at least {k}",), "max({e}, {k})", 3),
    Piece("ceiling", ("compute {np} but at most {k}",), "min({e}, {k})", 3),
    Piece("bool", ("get the bool of {np}",), "bool({e})", 0),
)


def entries(rng: Source) -> Draft:
    """Look into a dictionary, or gather a part of it."""
    name = rng.choice(MAPPINGS)
    fields = {"key": rng.choice(KEYS), "k": rng.randint(0, 9), "c": rng.choice("abinstx")}
    mentioned = mention(rng, name, rng.choice(("dictionary", "dict")))
    if rng.random() < 0.5:
        piece = draw(rng, ENTRIES)
        instruction, answer = fill(rng.choice(piece.phrases), x=mentioned, **fields), fill(piece.code, x=name, **fields)
        return Draft(instruction, answer, (piece.name,), ((name, "mapping"),))
    gather, part, condition = draw(rng, GATHERED), draw(rng, PARTS), draw(rng, CONDITIONS)
    phrase = "the " + fill(part.phrases[0], x=mentioned) + rng.choice(condition.phrases)
    instruction = fill(fill(rng.choice(gather.phrases), np=phrase), **fields)
    answer = fill(fill(gather.code, e=part.code, x=name, f=condition.code), **fields)
    return Draft(instruction, answer, (gather.name, part.name, condition.name), ((name, "mapping"),))


def sets(rng: Source) -> Draft:
    """Compare two lists as sets."""
    pair, result = draw(rng, SET_PAIRS), draw(rng, SET_RESULTS)
    left, right = rng.sample(NUMBER_LISTS, 2)
    phrase = fill(rng.choice(pair.phrases), x=f"'{left}'", y=f"'{right}'")
    answer = fill(result.code, e=fill(pair.code, x=left, y=right))
    instruction = fill(rng.choice(result.phrases), np=phrase)
    return Draft(instruction, answer, (result.name, pair.name), ((left, "ints"), (right, "ints")))


def arithmetic(rng: Source) -> Draft:
    """Combine two numbers, and perhaps test or change the outcome."""
    amount, result = draw(rng, AMOUNTS), draw(rng, AMOUNT_RESULTS)
    left, right = rng.sample(SCALARS, 2)
    second = right if rng.random() < 0.7 else str(rng.randint(2, 9))
    mentioned = f"'{right}'" if second == right else second
    k = rng.randint(1, 9)
    phrase = fill(rng.choice(amount.phrases), x=f"'{left}'", y=mentioned)
    answer = fill(result.code, e=fill(amount.code, x=left, y=second), k=k)
    instruction = fill(rng.choice(result.phrases), np=phrase, k=k)
    variables = ((left, "int"), (right, "int")) if second == right else ((left, "int"),)
    return Draft(instruction, answer, (result.name, amount.name), variables)
