"""Python programs as syntax trees. Generated programs may nest to any depth, so nothing here is recursive."""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node as SyntaxNode
    from tree_sitter import Parser

_DEFINITIONS = {"function_definition", "class_definition"}
_PLAIN_STRING = re.compile(rb"[rRuU]?['\"]")  # bytes and f-strings are not docstrings


@dataclass(slots=True, eq=False)
class Node:
    """A node of a tree.

    Attributes:
        type: the name of the node in the grammar.
        label: what a printed tree shows for the node.
        role: the role of the node in its parent.
        shown: whether a printed tree shows the node; it shows neither punctuation nor keywords.
        broken: whether a node below, shown or not, is missing or an error.
        first: index of the first token in the tree's tokens.
        last: index of the last token plus 1.
        children: in the order of the text.
        is_token: whether the node is a token.
        shape: equal for nodes that are printed the same, set by `shapes`.
        documented: whether its docstring was left out.
    """

    type: str
    label: str
    role: str | None
    shown: bool
    broken: bool
    first: int
    last: int
    children: list["Node"] = field(default_factory=list)
    is_token: bool = False
    shape: int = -1
    documented: bool = False

    def child(self, role: str) -> "Node | None":
        """Return the first child in this role."""
        return next((child for child in self.children if child.role == role), None)


class Tree:
    """A parsed program.

    Args:
        text: any text; a text that is not Python becomes a tree with error nodes.
        as_evaluators: whether to keep comments and docstrings, and to split `not in` and `is not` into two tokens of
            the operator's type, as grammars up to 0.21 did. The published evaluators read both as names, because text
            and type differ.

    Attributes:
        as_evaluators: the argument.
        nodes: all nodes, parents before children; the first is the root.
        token_types: the name of every token in the grammar. The name of a keyword or a punctuation mark is its text.
        spans: start and end of every token in `data`, in bytes. A string is one token.
        data: the text in UTF-8, with a question mark for every character that cannot be encoded.
    """

    def __init__(self, text: str, as_evaluators: bool) -> None:
        self.as_evaluators = as_evaluators
        self.data = text.encode("utf-8", "replace")
        self.nodes: list[Node] = []
        self.token_types: list[str] = []
        self.spans: list[tuple[int, int]] = []
        self._read()

    def texts(self) -> list[str]:
        """Return the text of every token."""
        return [self.data[start:end].decode("utf-8", "replace") for start, end in self.spans]

    def words(self) -> list[str]:
        """Return the text of every token that is not empty, with `not in` and `is not` spaced normally."""
        spaced = {"not in", "is not"}
        texts = zip(self.token_types, self.texts(), strict=True)
        return [kind if kind in spaced else text for kind, text in texts if text]

    def texts_by_character(self) -> list[str]:
        """Return the text of every token as CodeXGLUE's evaluator cuts it.

        It reads columns in bytes as columns in characters, and drops the line breaks in a token. If a line is ASCII up
        to the token's end, nothing else differs.
        """
        if self.data.isascii():
            return [text.replace("\n", "") for text in self.texts()]
        lines = self.data.decode("utf-8").split("\n")
        starts = list(accumulate((len(line.encode("utf-8")) + 1 for line in lines), initial=0))
        texts = []
        for start, end in self.spans:
            row, last = bisect_right(starts, start) - 1, bisect_right(starts, end) - 1
            pieces = [*lines[row:last], lines[last][: end - starts[last]]]
            pieces[0] = pieces[0][start - starts[row] :]
            texts.append("".join(pieces))
        return texts

    def shapes(self, numbers: dict[Hashable, int]) -> Counter[int]:
        """Count the subtrees by shape: the root and every node with children.

        Two subtrees have the same shape if tree-sitter prints them the same. It prints the names of nodes and roles,
        but neither identifiers nor operators. Printing takes quadratic time in a deep tree, so shapes are numbered
        from the leaves up.

        Args:
            numbers: the number of each shape, to which new shapes are added. Trees that are compared must share it.
        """
        counts: Counter[int] = Counter()
        for node in reversed(self.nodes):
            parts: list[Hashable] = [node.label]
            if node.broken and node.type != "ERROR" and not any(child.broken for child in node.children):
                parts.append("missing")  # such as a line end, which is printed but is not a child
            for child in node.children:
                if child.shown:
                    parts += child.role, child.shape
            node.shape = numbers.setdefault(tuple(parts), len(numbers))
            if node.children:
                counts[node.shape] += 1
        if not self.nodes[0].children:
            counts[self.nodes[0].shape] += 1
        return counts

    def _read(self) -> None:
        cursor = _parser().parse(self.data).walk()
        above: list[Node] = []
        string: Node | None = None  # the string that is being read, whose parts are not tokens
        while True:
            syntax = cursor.node
            assert syntax is not None, "a cursor over a whole tree stands on a node"
            operator = bool(above) and not syntax.is_named and syntax.child_count > 0
            if operator and self.as_evaluators and string is None:
                for part in syntax.children:
                    self._add_token(self._add(part, None, above, syntax.type), part)
            elif not (_is_backslash(syntax, above) or (not self.as_evaluators and _left_out(syntax, above))):
                node = self._add(syntax, cursor.field_name, above, syntax.type)
                descends = not operator and cursor.goto_first_child()
                if string is None and (node.type == "string" or (not descends and node.type != "comment")):
                    self._add_token(node, syntax)
                    string = node if descends else None
                if descends:
                    above.append(node)
                    continue
            while not (above and cursor.goto_next_sibling()):
                if not above:
                    return
                cursor.goto_parent()
                node = above.pop()
                node.last = len(self.spans)
                string = None if node is string else string

    def _add(self, syntax: "SyntaxNode", role: str | None, above: list[Node], kind: str) -> Node:
        node = Node(
            type=kind,
            label=_label(syntax),
            role=role,
            shown=syntax.is_named or syntax.is_missing,
            broken=syntax.has_error,
            first=len(self.spans),
            last=len(self.spans),
        )
        self.nodes.append(node)
        if above:
            above[-1].children.append(node)
        return node

    def _add_token(self, node: Node, syntax: "SyntaxNode") -> None:
        node.is_token = True
        self.token_types.append(node.type)
        self.spans.append((syntax.start_byte, syntax.end_byte))
        node.last = len(self.spans)


@cache
def _parser() -> "Parser":
    # tree-sitter takes any text, and the published evaluators score its trees.
    # Imported late: composing a cell and reading a result do not need the parser.
    import tree_sitter_python
    from tree_sitter import Language, Parser

    return Parser(Language(tree_sitter_python.language()))


def _label(syntax: "SyntaxNode") -> str:
    if syntax.is_missing:
        return f"missing {syntax.type}"
    if syntax.type == "ERROR" and syntax.child_count == 0:
        return str(syntax)  # names the unexpected character
    return syntax.type


def _is_backslash(syntax: "SyntaxNode", above: list[Node]) -> bool:
    """Whether a backslash escapes nothing, as in `'\\d'`. Grammars up to 0.21 had no node for it."""
    return bool(above) and above[-1].type == "string_content" and not syntax.is_named


def _left_out(syntax: "SyntaxNode", above: list[Node]) -> bool:
    if syntax.type == "comment":
        return True
    if not above or syntax.type != "expression_statement" or not _is_plain_string(syntax):
        return False
    parent = above[-1]
    if parent.children or parent.documented:
        return False
    if parent.type == "module":
        # A program that consists of a single string is not a docstring.
        parent.documented = syntax.next_named_sibling is not None
    else:
        parent.documented = parent.type == "block" and above[-2].type in _DEFINITIONS
    return parent.documented


def _is_plain_string(statement: "SyntaxNode") -> bool:
    child = statement.child(0)
    if child is None or statement.child_count != 1 or child.type not in {"string", "concatenated_string"}:
        return False
    return _PLAIN_STRING.match(child.text or b"") is not None
