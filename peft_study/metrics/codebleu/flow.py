"""Where the values in a program come from: the edges of CodeBLEU's data-flow match (Ren et al. 2020, section 3.3).

What counts as an edge follows CodeXGLUE's evaluator for Python, because its scores are to be compared with. Every use
of a name comes from the places that may have set it last; what stands left of an assignment, an augmented assignment,
or a `for` is computed from what stands right of it, part by part or as a whole; a parameter comes from its default.
The branches of an `if` are joined, and a loop is walked twice, so that its end reaches its beginning. Attributes,
keyword arguments and called functions count as names; definitions open no scope; `with`, `import` and `:=` set nothing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from peft_study.metrics.codebleu.trees import Tree
from peft_study.metrics.codebleu.walk import Fact, MissingPartError, Walk, merged

Edge = tuple[str, str, tuple[str, ...]]
"""A normalised edge: a variable's number, the relation, and the numbers of the variables that it comes from."""


def edges(tree: Tree, texts: Sequence[str], as_evaluators: bool) -> Counter[Edge]:
    """Find the normalised edges of a program.

    Variables are numbered by their first appearance. Where the evaluators leave the order of an edge's sources to
    Python's string hashes (what two walks of a loop find is joined as a set), they stand in the order found.

    Args:
        tree: the program.
        texts: the text of each of its tokens.
        as_evaluators: pair the parts of any two expressions that have as many, and not only those of tuples and lists.
            `a, b = f(c)` then takes `a` from `f`; and where a string's quotes are paired so (`a.b = 'c'`), the
            evaluators find no data flow in all of the program.

    Returns:
        How often each edge occurs; nothing for a program that cannot be walked.

    Raises:
        OverLimitError: it takes more than MAX_STEPS steps.
    """
    # Tokens of no width, which the parser made up, can share a span; the last one's place counts.
    last_at = {span: index for index, span in enumerate(tree.spans)}
    walk = Walk(texts, tree.token_types, [last_at[span] for span in tree.spans], as_evaluators)
    try:
        walk.run(tree.nodes[0])
    except MissingPartError:
        return Counter()
    return Counter(_numbered(_joined(walk.facts)))


def _joined(facts: list[Fact]) -> Iterable[Fact]:
    """Keep what comes from somewhere or is come from, one fact a place, in the order of the text."""
    linked = {place for fact in facts for place in fact.source_places}
    linked |= {fact.place for fact in facts if fact.source_places}
    at_place: dict[int, list[Fact]] = {}
    for fact in sorted(facts, key=lambda fact: fact.place):
        if fact.place in linked:
            at_place.setdefault(fact.place, []).append(fact)
    return map(merged, at_place.values())


def _numbered(facts: Iterable[Fact]) -> Iterator[Edge]:
    numbers: dict[str, str] = {}
    for fact in facts:
        for name in (*fact.sources, fact.name):
            numbers.setdefault(name, str(len(numbers)))
        yield numbers[fact.name], fact.relation, tuple(numbers[name] for name in fact.sources)
