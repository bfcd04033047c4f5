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
    """The syntax tree of a text; None if this interpreter's version of Python cannot parse it."""
    with warnings.catch_warnings():
        # Warnings such as an invalid escape sequence would be about the code of a data set or a model.
        warnings.simplefilter("ignore")
        try:
            return ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            # A null byte raises ValueError, deep nesting one of the last two.
            return None


def is_program(code: str) -> bool:
    """Whether a text is Python and holds a statement."""
    tree = parse(code)
    return tree is not None and bool(tree.body)


def block_end(source: str, start: int = 0) -> int | None:
    """Find the end of an indented block: the line break before the first unindented line that is not blank.

    A line inside brackets or a string in triple quotes, or after a backslash, belongs to the line before it.

    Args:
        source: Python code, and any text behind the block.
        start: the characters before this position belong to the block, whatever they are.

    Returns:
        the position; None if nothing follows the block.
    """
    # Python's tokenizer does not help, because it refuses text that is incomplete or turns into prose.
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
