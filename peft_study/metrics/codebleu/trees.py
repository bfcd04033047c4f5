"""Python programs as syntax trees, without recursion: how deep a program nests is up to whoever wrote it."""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Hashable
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node as SyntaxNode
    from tree_sitter import Parser

_DEFINITIONS = {"function_definition", "class_definition"}
_PLAIN_STRING = re.compile(rb"[rRuU]?['\"]")


class Node:
    """One node of a tree.

    Attributes:
        type: its name in the grammar.
        label: what a printed tree shows for it.
        field: the role it plays in its parent.
        shown: whether a printed tree shows it at all; punctuation and keywords are not shown.
        broken: whether something below it, shown or not, is missing or fits nowhere.
        children: in the order of the text.
        first: its first token, an index into the tree's tokens.
        last: one beyond its last token.
        is_token: whether it is a token itself.
        shape: a number that is the same for nodes that print alike, set by `shapes`.
        documented: whether a docstring of it was left out.
    """

    __slots__ = (
        "broken",
        "children",
        "documented",
        "field",
        "first",
        "is_token",
        "label",
        "last",
        "shape",
        "shown",
        "type",
    )

    def __init__(self, syntax: "SyntaxNode", kind: str, field: str | None, first: int) -> None:
        self.type = kind
        self.label = _label(syntax)
        self.field = field
        self.shown = syntax.is_named or syntax.is_missing
        self.broken = syntax.has_error
        self.children: list[Node] = []
        self.first = first
        self.last = first
        self.is_token = False
        self.shape = -1
        self.documented = False

    def child(self, field: str) -> "Node | None":
        """The first child that plays this role."""
        return next((child for child in self.children if child.field == field), None)


class Tree:
    """A parsed program.

    Args:
        text: any text; what is not Python becomes a tree with error nodes.
        bare: leave out comments and docstrings.
        split_operators: give `not in` and `is not` as two tokens each, of the operator's type, as grammars up to 0.21
            did; because text and type differ, the evaluators take both for names.

    Attributes:
        nodes: all of them, parents before children; the first is the root.
        token_types: of every token, its name in the grammar; a keyword or sign is its own name.
        spans: of every token, where it begins and ends in `data`, in bytes. A string is one token.
        data: the text in UTF-8, with a question mark for what cannot be encoded.
    """

    def __init__(self, text: str, bare: bool, split_operators: bool) -> None:
        self.data = text.encode("utf-8", "replace")
        self.nodes: list[Node] = []
        self.token_types: list[str] = []
        self.spans: list[tuple[int, int]] = []
        self._read(bare, split_operators)

    def texts(self) -> list[str]:
        """The text of every token."""
        return [self.data[start:end].decode("utf-8", "replace") for start, end in self.spans]

    def words(self) -> list[str]:
        """The text of every token that has any, however `not in` and `is not` are spaced."""
        spaced = {"not in", "is not"}
        texts = zip(self.token_types, self.texts(), strict=True)
        return [kind if kind in spaced else text for kind, text in texts if text]

    def texts_by_character(self) -> list[str]:
        """The text of every token as CodeXGLUE's evaluator cuts it: columns in bytes, taken for columns in characters.

        The line breaks in a token are lost. In a line that is ASCII up to the token's end nothing else differs.
        """
        if self.data.isascii():
            return [text.replace("\n", "") for text in self.texts()]
        lines = self.data.decode("utf-8").split("\n")
        starts = list(accumulate((len(line.encode("utf-8")) + 1 for line in lines), initial=0))
        found = []
        for start, end in self.spans:
            row, last = bisect_right(starts, start) - 1, bisect_right(starts, end) - 1
            pieces = [*lines[row:last], lines[last][: end - starts[last]]]
            pieces[0] = pieces[0][start - starts[row] :]
            found.append("".join(pieces))
        return found

    def shapes(self, known: dict[Hashable, int]) -> Counter[int]:
        """Count the subtrees by what they look like: the root, and every node that has children.

        Two subtrees look alike where tree-sitter prints them alike: names of nodes and roles, neither identifiers nor
        operators. Printing takes quadratic time in a deep tree, so shapes are numbered, the leaves' first.

        Args:
            known: the numbers given so far, added to; the trees that are compared must share it.
        """
        found: Counter[int] = Counter()
        for node in reversed(self.nodes):
            parts: list[Hashable] = [node.label]
            if node.broken and node.type != "ERROR" and not any(child.broken for child in node.children):
                parts.append("missing")  # a line's end, say, which is printed but is no child
            for child in node.children:
                if child.shown:
                    parts += child.field, child.shape
            node.shape = known.setdefault(tuple(parts), len(known))
            if node.children:
                found[node.shape] += 1
        if not self.nodes[0].children:
            found[self.nodes[0].shape] += 1
        return found

    def _read(self, bare: bool, split_operators: bool) -> None:
        cursor = _parser().parse(self.data).walk()
        above: list[Node] = []
        string: Node | None = None  # the one that is being read, whose parts are no tokens
        while True:
            syntax = cursor.node
            assert syntax is not None, "a cursor over a whole tree stands on a node"
            operator = bool(above) and not syntax.is_named and syntax.child_count > 0
            if operator and split_operators and string is None:
                for part in syntax.children:
                    self._add_token(self._add(part, None, above, syntax.type), part)
            elif not (_is_backslash(syntax, above) or (bare and _left_out(syntax, above))):
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

    def _add(self, syntax: "SyntaxNode", field: str | None, above: list[Node], kind: str) -> Node:
        node = Node(syntax, kind, field, len(self.spans))
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
    # Imported on first use: composing a cell and reading a result need no parser.
    import tree_sitter_python
    from tree_sitter import Language, Parser

    return Parser(Language(tree_sitter_python.language()))


def _label(syntax: "SyntaxNode") -> str:
    if syntax.is_missing:
        return f"missing {syntax.type}"
    if syntax.type == "ERROR" and syntax.child_count == 0:
        return str(syntax)  # names the character that fits nowhere
    return syntax.type


def _is_backslash(syntax: "SyntaxNode", above: list[Node]) -> bool:
    """Whether this is a backslash that escapes nothing, which grammars up to 0.21 gave no node (as in `'\\d'`)."""
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
        # A program that is nothing but a string is not documentation of nothing.
        parent.documented = syntax.next_named_sibling is not None
    else:
        parent.documented = parent.type == "block" and above[-2].type in _DEFINITIONS
    return parent.documented


def _is_plain_string(statement: "SyntaxNode") -> bool:
    child = statement.child(0)
    if child is None or statement.child_count != 1 or child.type not in {"string", "concatenated_string"}:
        return False
    return _PLAIN_STRING.match(child.text or b"") is not None
