"""Where the values in a program come from: the edges of CodeBLEU's data-flow match (Ren et al. 2020, section 3.3).

The edges are those of CodeXGLUE's evaluator for Python, so that scores can be compared with published ones:

- A use of a name comes from the places that may have set it last.
- The left side of an assignment, an augmented assignment or a `for` is computed from the right side, part by part or
  as a whole. A parameter comes from its default.
- The branches of an `if` are joined. A loop is walked twice, so that its end reaches its beginning.
- Attributes, keyword arguments and called functions count as names.
- Definitions do not open a scope, and `with`, `import` and `:=` do not set a name.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from peft_study.metrics.codebleu.trees import Tree
from peft_study.metrics.codebleu.walk import Fact, MissingPartError, Walk, merged

Edge = tuple[str, str, tuple[str, ...]]
"""A normalised edge: a variable's number, the relation, and the numbers of the variables that it comes from."""


def edges(tree: Tree) -> Counter[Edge]:
    """Count the normalised edges of a program.

    Variables are numbered by their first appearance. The published evaluators join the two walks of a loop as a set,
    so the order of an edge's sources depends on string hashes. This function uses the order in which they are visited.

    In a tree `as_evaluators`, the parts of any two expressions with equally many parts are paired, and not only those
    of tuples and lists. `a, b = f(c)` then takes `a` from `f`. If a string's quotes are paired like this (`a.b = 'c'`),
    the published evaluators find no data flow in the whole program.

    Returns:
        How often each edge occurs; empty for a program that cannot be walked.

    Raises:
        OverLimitError: the walk takes more than MAX_STEPS steps.
    """
    # Tokens without width, which the parser inserts, can share a span. The last token's place counts.
    last_at = {span: index for index, span in enumerate(tree.spans)}
    texts = tree.texts_by_character() if tree.as_evaluators else tree.texts()
    walk = Walk(texts, tree.token_types, [last_at[span] for span in tree.spans], tree.as_evaluators)
    try:
        walk.run(tree.nodes[0])
    except MissingPartError:
        return Counter()
    return Counter(_numbered(_joined(walk.facts)))


def _joined(facts: list[Fact]) -> Iterable[Fact]:
    """Keep the facts that have a source or are one, merged by place, in the order of the text."""
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
