"""Operations on lists of numbers and of words: filter, map, then gather or reduce; slices; sorting."""

from peft_study.data.minipy.drafts import LETTERS, NUMBER_LISTS, WORD_LISTS, Draft, Piece, Source, draw, fill, mention

NUMBER_FILTERS = (
    Piece("every", ("{noun} in {x}", "{noun} of {x}"), "", 60),
    Piece("even", ("even {noun} in {x}", "{noun} in {x} that are even"), " if n % 2 == 0", 60),
    Piece("odd", ("odd {noun} in {x}", "{noun} in {x} that are odd"), " if n % 2 == 1", 50),
    Piece("positive", ("positive {noun} in {x}", "{noun} in {x} above zero"), " if n > 0", 40),
    Piece("negative", ("negative {noun} in {x}", "{noun} in {x} below zero"), " if n < 0", 40),
    Piece("nonzero", ("nonzero {noun} in {x}", "{noun} in {x} that are not zero"), " if n != 0", 3),
    Piece("greater", ("{noun} in {x} greater than {k}", "{noun} in {x} that exceed {k}"), " if n > {k}", 60),
    Piece("less", ("{noun} in {x} less than {k}", "{noun} in {x} smaller than {k}"), " if n < {k}", 40),
    Piece("at least", ("{noun} in {x} that are at least {k}",), " if n >= {k}", 3),
    Piece("multiple", ("{noun} in {x} divisible by {k}", "multiples of {k} in {x}"), " if n % {k} == 0", 40),
)
NUMBER_MAPS = (
    Piece("itself", ("{np}",), "n", 160),
    Piece("square", ("squares of {np}",), "n ** 2", 60),
    Piece("cube", ("cubes of {np}",), "n ** 3", 3),
    Piece("double", ("doubles of {np}",), "n * 2", 50),
    Piece("absolute", ("absolute values of {np}",), "abs(n)", 30),
    Piece("half", ("integer halves of {np}",), "n // 2", 3),
    Piece("digit", ("last digits of {np}",), "n % 10", 3),
)
GATHERERS = (
    Piece("list", ("get a list of {np}", "list {np}", "collect {np} in a list"), "[{body}]", 80),
    Piece("sum", ("sum {np}", "add up {np}", "get the sum of {np}"), "sum({body})", 70),
    Piece("max", ("get the largest of {np}", "find the maximum of {np}"), "max({body})", 50),
    Piece("min", ("get the smallest of {np}", "find the minimum of {np}"), "min({body})", 50),
    Piece("set", ("get the set of {np}", "collect {np} without duplicates"), "{{body}}", 40),
    Piece("sort", ("sort {np}", "list {np} in ascending order"), "sorted({body})", 40),
    Piece("fall", ("sort {np} in descending order",), "sorted([{body}], reverse=True)", 3),
    Piece("count", ("count {np}", "find how many there are of {np}"), "len([{body}])", 50),
    Piece("tuple", ("make a tuple of {np}",), "tuple({body})", 0),
)
WORD_FILTERS = (
    Piece("all", ("{noun} in {x}", "{noun} of {x}"), "", 50),
    Piece(
        "starting",
        ("{noun} in {x} starting with '{c}'", "{noun} in {x} that begin with '{c}'"),
        " if w.startswith('{c}')",
        50,
    ),
    Piece(
        "ending", ("{noun} in {x} ending in '{c}'", "{noun} in {x} that end with '{c}'"), " if w.endswith('{c}')", 40
    ),
    Piece("containing", ("{noun} in {x} containing '{c}'", "{noun} in {x} that contain '{c}'"), " if '{c}' in w", 50),
    Piece("lacking", ("{noun} in {x} without '{c}'",), " if '{c}' not in w", 3),
    Piece("longer", ("{noun} in {x} longer than {k} characters",), " if len(w) > {k}", 50),
    Piece("shorter", ("{noun} in {x} shorter than {k} characters",), " if len(w) < {k}", 3),
)
WORD_MAPS = (
    Piece("word", ("{np}",), "w", 100),
    Piece("upper", ("upper case forms of {np}",), "w.upper()", 50),
    Piece("lengths", ("lengths of {np}",), "len(w)", 50),
    Piece("first letter", ("first letters of {np}",), "w[0]", 30),
    Piece("last letter", ("last letters of {np}",), "w[-1]", 3),
    Piece("mirrored", ("reversed forms of {np}",), "w[::-1]", 3),
    Piece("capitalized", ("capitalized forms of {np}",), "w.capitalize()", 3),
    Piece("swapcase", ("swapcase forms of {np}",), "w.swapcase()", 0),
)
WORD_GATHERERS = (
    *(piece for piece in GATHERERS if piece.name in {"list", "set", "sort", "count", "tuple"}),
    Piece("join", ("join {np} with '{sep}'", "concatenate {np} with '{sep}' between them"), "'{sep}'.join({body})", 50),
)
ORDINALS = {2: "second", 3: "third", 4: "fourth", 5: "fifth"}
RESULT_OF_SLICE = (
    Piece("slice", ("get {np}", "take {np}", "return {np}"), "{e}", 80),
    Piece("slice set", ("get the set of {np}",), "set({e})", 3),
    Piece("slice sort", ("sort {np}", "list {np} in ascending order"), "sorted({e})", 30),
    Piece("slice fall", ("sort {np} in descending order",), "sorted({e}, reverse=True)", 3),
    Piece("slice sum", ("sum {np}", "add up {np}", "get the sum of {np}"), "sum({e})", 50),
    Piece("slice max", ("get the largest of {np}", "find the maximum of {np}"), "max({e})", 40),
    Piece("slice min", ("get the smallest of {np}", "find the minimum of {np}"), "min({e})", 40),
)
SLICES = (
    Piece("head", ("the first {k} {noun} of {x}", "the {k} leading {noun} of {x}"), "{x}[:{k}]", 60),
    Piece("tail", ("the last {k} {noun} of {x}", "the {k} trailing {noun} of {x}"), "{x}[-{k}:]", 60),
    Piece("skip", ("{noun} of {x} after the first {k}", "{x} without its first {k} {noun}"), "{x}[{k}:]", 40),
    Piece("cut", ("{noun} of {x} except the last {k}", "{x} without its last {k} {noun}"), "{x}[:-{k}]", 40),
    Piece("stride", ("{noun} of {x} taking every {nth} one",), "{x}[::{k}]", 3),
    Piece("range", ("{noun} of {x} from index {k} up to index {m}",), "{x}[{k}:{m}]", 3),
    Piece("backwards", ("{noun} of {x} in reverse",), "{x}[::-1]", 30),
)
SORT_KEYS = (
    Piece("plain", ("sort {x}",), "sorted({x}{r})", 40),
    Piece("by length", ("sort {x} by length", "order {x} by length"), "sorted({x}, key=len{r})", 40),
    Piece(
        "by last letter",
        ("sort {x} by last letter", "order {x} by the last letter"),
        "sorted({x}, key=lambda w: w[-1]{r})",
        30,
    ),
    Piece("by lower case", ("sort {x} ignoring case",), "sorted({x}, key=str.lower{r})", 3),
    Piece("by reversed word", ("sort {x} by reversed word",), "sorted({x}, key=lambda w: w[::-1]{r})", 3),
)
SORT_TAILS = (
    Piece("all sorted", ("{s}",), "{e}", 70),
    Piece("some sorted", ("{s} and take the first {k}", "{s} and keep only {k}"), "{e}[:{k}]", 40),
    Piece("end sorted", ("{s} and take the last {k}",), "{e}[-{k}:]", 3),
    Piece("one sorted", ("{s} and get the first one",), "{e}[0]", 30),
    Piece("last sorted", ("{s} and get the last one",), "{e}[-1]", 3),
)


def comprehension(rng: Source) -> Draft:
    """Filter and map numbers or words, then gather or reduce them."""
    numbers = rng.random() < 0.6
    letter, names = ("n", NUMBER_LISTS) if numbers else ("w", WORD_LISTS)
    keep = draw(rng, NUMBER_FILTERS if numbers else WORD_FILTERS)
    change = draw(rng, NUMBER_MAPS if numbers else WORD_MAPS)
    gather = draw(rng, GATHERERS if numbers else WORD_GATHERERS)
    # `str.join` takes no numbers.
    if change.name == "lengths" and gather.name == "join":
        gather = WORD_GATHERERS[0]
    name = rng.choice(names)
    noun = rng.choice(("numbers", "values")) if numbers else rng.choice(("words", "strings"))
    body = f"{change.code} for {letter} in {name}{keep.code}"
    answer = fill(gather.code, body=body)
    # A comprehension that changes nothing is written as the list itself.
    if keep.code == "" and change.code == letter:
        answer = {"list": f"list({name})", "set": f"set({name})", "count": f"len({name})"}.get(gather.name, answer)
        answer = answer.replace(f"[{body}]", name).replace(body, name)
    phrase = fill(rng.choice(change.phrases), np="the " + rng.choice(keep.phrases))
    phrase = phrase if phrase.startswith("the ") else f"the {phrase}"
    fields = {
        "noun": noun,
        "x": mention(rng, name, "list"),
        "k": rng.randint(2, 9) if numbers else rng.randint(3, 6),
        "c": rng.choice(LETTERS),
        "sep": rng.choice((",", "-", "; ", "/", "+")),
    }
    instruction = fill(fill(rng.choice(gather.phrases), np=phrase), **fields)
    pieces = (gather.name, change.name, keep.name)
    return Draft(instruction, fill(answer, **fields), pieces, ((name, "ints" if numbers else "words"),))


def slicing(rng: Source) -> Draft:
    """Take a part of a list of numbers, and perhaps reduce it."""
    part, result = draw(rng, SLICES), draw(rng, RESULT_OF_SLICE)
    name, k = rng.choice(NUMBER_LISTS), rng.randint(2, 5)
    fields = {"k": k, "m": k + rng.randint(1, 4), "noun": rng.choice(("elements", "entries")), "nth": ORDINALS[k]}
    phrase = fill(rng.choice(part.phrases), x=mention(rng, name, "list"), **fields)
    if not phrase.startswith(("the ", "'", "list")):
        phrase = f"the {phrase}"
    instruction = fill(rng.choice(result.phrases), np=phrase)
    answer = fill(result.code, e=fill(part.code, x=name, **fields))
    return Draft(instruction, answer, (result.name, part.name), ((name, "ints"),))


def sorting(rng: Source) -> Draft:
    """Sort words by a key, up or down, and perhaps take some of them."""
    key, tail = draw(rng, SORT_KEYS), draw(rng, SORT_TAILS)
    name, falls = rng.choice(WORD_LISTS), rng.random() < 0.4
    phrase = fill(rng.choice(key.phrases), x=mention(rng, name, "list"))
    phrase += " in descending order" if falls else ""
    k = rng.randint(2, 4)
    answer = fill(tail.code, e=fill(key.code, x=name, r=", reverse=True" if falls else ""), k=k)
    instruction = fill(rng.choice(tail.phrases), s=phrase, k=k)
    pieces = (tail.name, key.name, "falling" if falls else "rising")
    return Draft(instruction, answer, pieces, ((name, "words"),))
