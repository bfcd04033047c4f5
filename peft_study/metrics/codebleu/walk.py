"""The walk over a program that finds where its values come from; see `flow.py`."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from peft_study.metrics.codebleu.trees import Node

MAX_STEPS = 200_000
"""A walk with more steps is given up, and the program counts as one without data flow.

Loops are walked twice at every level, so the time doubles with each level. The first 20,000 characters of each of 34
modules of the standard library take at most 51,000 steps.
"""
_ASSIGNMENTS = {"assignment", "augmented_assignment"}
_SEQUENCES = {"pattern_list", "tuple_pattern", "list_pattern", "expression_list", "tuple", "list"}
_COMPUTED, _COMES = "computedFrom", "comesFrom"  # as in CodeXGLUE's evaluator


class OverLimitError(Exception):
    """The walk takes more than MAX_STEPS steps."""


class MissingPartError(Exception):
    """A broken program lacks a part that the walk needs. The published evaluators then find no data flow."""


class Fact(NamedTuple):
    """Where the value at a place comes from.

    Attributes:
        name: the text at the place.
        place: the number of its token.
        relation: "computedFrom" or "comesFrom" the sources.
        sources: the texts that the value comes from.
        source_places: the numbers of the sources' tokens.
    """

    name: str
    place: int
    relation: str
    sources: tuple[str, ...]
    source_places: tuple[int, ...]


def merged(facts: Sequence[Fact]) -> Fact:
    """Merge facts about the same place, each source once, in order; a single fact is unchanged."""
    if len(facts) == 1:
        return facts[0]
    return facts[-1]._replace(
        sources=tuple(dict.fromkeys(chain.from_iterable(fact.sources for fact in facts))),
        source_places=tuple(dict.fromkeys(chain.from_iterable(fact.source_places for fact in facts))),
    )


@dataclass
class Walk:
    """A walk over a program.

    Attributes:
        texts: the text of every token.
        types: the type of every token.
        places: the number of every token.
        as_evaluators: whether all expressions are paired by their parts.
        facts: the facts so far, in the order of the walk.
        setters: for every name, the places that may have set it last.
        steps: number of steps so far.
    """

    texts: Sequence[str]
    types: Sequence[str]
    places: Sequence[int]
    as_evaluators: bool
    facts: list[Fact] = field(default_factory=list)
    setters: dict[str, tuple[int, ...]] = field(default_factory=dict)
    steps: int = 0

    def run(self, root: Node) -> None:
        """Walk the tree. A list holds the generators, because a deep program would exceed Python's stack."""
        waiting = [iter((root,))]
        while waiting:
            node = next(waiting[-1], None)
            if node is None:
                waiting.pop()
                continue
            self._spend(1)
            if node.is_token:
                self._use(node)
            else:
                waiting.append(self._parts(node))

    def _spend(self, steps: int) -> None:
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise OverLimitError

    def _parts(self, node: Node) -> Iterator[Node]:
        """Yield the nodes below that are walked next. The work for this node happens between them."""
        if node.type == "default_parameter":
            return self._parameter(node)
        if node.type in _ASSIGNMENTS:
            return self._assignment(node)
        if node.type == "for_in_clause":
            return self._comprehension(node)
        if node.type == "if_statement":
            return self._branches(node)
        if node.type in {"for_statement", "while_statement"}:
            return self._loop(node)
        # A comprehension's `for` sets the names that stand before it.
        return iter(sorted(node.children, key=lambda child: child.type != "for_in_clause"))

    def _use(self, node: Node) -> None:
        text, place = self.texts[node.first], self.places[node.first]
        if node.type == text:
            return  # a keyword or a punctuation mark
        setters = self.setters.get(text)
        if setters is not None:
            self._spend(len(setters))
            self.facts.append(Fact(text, place, _COMES, (text,), setters))
            return
        if node.type == "identifier":
            self.setters[text] = (place,)
        self.facts.append(Fact(text, place, _COMES, (), ()))

    def _parameter(self, node: Node) -> Iterator[Node]:
        name, value = node.child("name"), node.child("value")
        if value is not None:
            yield value
        for target in self._variables(name):
            if value is None:
                self.facts.append(Fact(self.texts[target], self.places[target], _COMES, (), ()))
            for source in self._variables(value) if value is not None else ():
                self._set(target, _COMES, [source])
            self.setters[self.texts[target]] = (self.places[target],)

    def _assignment(self, node: Node) -> Iterator[Node]:
        left, right = node.child("left"), node.child("right")
        if right is None:
            return
        pairs = self._pairs(left, right)
        yield from (source for _, source in pairs)
        self._compute(pairs)

    def _comprehension(self, node: Node) -> Iterator[Node]:
        left, right = node.child("left"), node.children[-1]
        yield right
        self._compute([(left, right)])

    def _branches(self, node: Node) -> Iterator[Node]:
        before = self.setters
        through = self._copy(before)
        ends = []
        for child in node.children:
            if child.type in {"elif_clause", "else_clause"}:
                self.setters = self._copy(before)
                yield child
                ends.append(self.setters)
            else:
                self.setters = through
                yield child
                through = self.setters
        ends.append(through)
        # Without an `else`, it is possible that no branch runs.
        if not any("else" in child.type for child in node.children):
            ends.append(before)
        self.setters = self._union(ends)

    def _copy(self, setters: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        self._spend(len(setters))
        return dict(setters)

    def _union(self, ends: list[dict[str, tuple[int, ...]]]) -> dict[str, tuple[int, ...]]:
        joined: dict[str, set[int]] = {}
        for end in ends:
            for name, setters in end.items():
                self._spend(len(setters))
                joined.setdefault(name, set()).update(setters)
        return {name: tuple(sorted(setters)) for name, setters in joined.items()}

    def _loop(self, node: Node) -> Iterator[Node]:
        start = len(self.facts)
        # The second round sees the names that the first has set.
        for _ in range(2):
            if node.type == "while_statement":
                yield from node.children
                continue
            pairs = self._pairs(node.child("left"), node.child("right"))
            yield from (source for _, source in pairs)
            self._compute(pairs)
            # With an `else` the body is not the last part, and the published evaluators skip it.
            if node.children[-1].type == "block":
                yield node.children[-1]
        by_target: dict[tuple[str, int, str], list[Fact]] = {}
        for fact in self.facts[start:]:
            self._spend(1 + len(fact.source_places))
            by_target.setdefault(fact[:3], []).append(fact)
        self.facts[start:] = map(merged, by_target.values())

    def _compute(self, pairs: Iterable[tuple[Node | None, Node]]) -> None:
        for target_node, source_node in pairs:
            sources = self._variables(source_node)
            for target in self._variables(target_node):
                self._set(target, _COMPUTED, sources)

    def _set(self, target: int, relation: str, sources: Sequence[int]) -> None:
        self._spend(1 + len(sources))
        names = tuple(self.texts[source] for source in sources)
        places = tuple(self.places[source] for source in sources)
        self.facts.append(Fact(self.texts[target], self.places[target], relation, names, places))
        self.setters[self.texts[target]] = (self.places[target],)

    def _variables(self, node: Node | None) -> list[int]:
        """The tokens under a node that are neither keywords nor punctuation."""
        if node is None:
            raise MissingPartError
        self._spend(node.last - node.first)
        return [index for index in range(node.first, node.last) if self.types[index] != self.texts[index]]

    def _pairs(self, left: Node | None, right: Node | None) -> list[tuple[Node | None, Node]]:
        """Pair targets with sources: part by part if their numbers are equal, and as wholes otherwise."""
        if left is None or right is None:
            raise MissingPartError
        targets, sources = self._assigned(left), self._assigned(right)
        if len(targets) != len(sources) or not targets:
            return [(left, right)]
        if left.is_token or right.is_token:  # the published evaluators fail on a string's parts, which are not tokens
            raise MissingPartError
        return list(zip(targets, sources, strict=True))

    def _assigned(self, node: Node) -> list[Node]:
        if self.as_evaluators:
            return [child for child in node.children if child.type != ","]
        return [child for child in node.children if child.shown] if node.type in _SEQUENCES else []
