"""Whether a text is Python, and where a block of it ends."""

import ast
import re
import warnings

from peft_study.data.line_ends import LINE_END

_ESCAPED = rf"\\(?:{LINE_END}|.)"
# Possessive, so that a string without an end costs one scan. A string in one kind of quotes ends at the line's end.
_LEXEME = re.compile(
    "|".join(
        (
            *(rf"{quotes}(?:{_ESCAPED}|(?!{quotes})[^\\])*+(?:{quotes})?" for quotes in ('"""', "'''")),
            *(rf"{quote}(?:{_ESCAPED}|[^{quote}\\\r\n])*+{quote}?" for quote in "\"'"),
            r"#[^\r\n]*",
            rf"\\{LINE_END}",
            r"[()\[\]{}]",
            rf"{LINE_END}(?=\S)",
        )
    ),
    re.DOTALL,
)


def parse(code: str) -> ast.Module | None:
    """The syntax tree of a text; None where it is no Python of this interpreter's version."""
    with warnings.catch_warnings():
        # An invalid escape sequence is said of code that nobody here wrote.
        warnings.simplefilter("ignore")
        try:
            return ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            # A null byte is a ValueError; deep nesting ends in one of the last two.
            return None


def is_program(code: str) -> bool:
    """Whether a text is Python and holds a statement."""
    tree = parse(code)
    return tree is not None and bool(tree.body)


def block_end(source: str, start: int = 0) -> int | None:
    """Where an indented block ends: at the line break before the first unindented line that is not blank.

    A line inside brackets or a string in triple quotes, or behind a backslash, belongs to the line before it. Python's
    own tokenizer cannot be asked, because it refuses text that breaks off or goes over into prose.

    Args:
        source: Python, and anything at all behind the block.
        start: characters before it belong to the block, whatever they are.

    Returns:
        the position; None where nothing follows the block.
    """
    depth = 0
    for lexeme in _LEXEME.finditer(source):
        text = lexeme.group()
        if text in ("(", "[", "{"):
            depth += 1
        elif text in (")", "]", "}"):
            depth = max(depth - 1, 0)
        elif text[0] in "\r\n" and depth == 0 and lexeme.start() >= start:
            return lexeme.start()
    return None
