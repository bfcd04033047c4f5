"""What the published evaluators do to a program's text before they parse it."""

import io
import re
import tokenize

_OPENING = re.compile(r"//|/\*|'|\"")
# Possessive, so that a quote that is never closed costs one scan.
_REST = {
    "//": re.compile(r"[^\n]*"),
    "/*": re.compile(r".*?\*/", re.DOTALL),
    "'": re.compile(r"(?:\\.|[^\\'])*+'", re.DOTALL),
    '"': re.compile(r'(?:\\.|[^\\"])*+"', re.DOTALL),
}
_STATEMENT_START = {tokenize.INDENT, tokenize.NEWLINE}


def without_java_comments(text: str) -> str:
    """Replace Java's comments by a space each, and remove lines that are then blank.

    CodeXGLUE's evaluator applies this to Python: `#` comments stay, and an integer division cuts the line.
    """
    kept: list[str] = []
    position = written = 0
    unclosed: set[str] = set()
    while match := _OPENING.search(text, position):
        opening, position = match.group(), match.start() + 1
        # An opening that is not closed from here on is not closed later either. One failed search for each kind keeps
        # the time linear.
        rest = None if opening in unclosed else _REST[opening].match(text, match.end())
        if rest is None:
            unclosed.add(opening)
            continue
        position = rest.end()
        if opening[0] == "/":
            kept += text[written : match.start()], " "
            written = position
    return _without_blank_lines("".join(kept) + text[written:])


def without_python_comments(text: str) -> str:
    """Remove Python's comments and docstrings as the package codebleu does; text that does not tokenize is unchanged.

    A string counts as a docstring if it opens a line that is not a continuation: after an indentation, after a logical
    line, or in column 0. Everything that Python's tokenizer skips becomes spaces, so a backslash at the end of a line
    joins the lines.
    """
    kept: list[str] = []
    line, column, before = -1, 0, tokenize.INDENT
    try:
        for kind, token, (start_line, start_column), (end_line, end_column), _ in tokenize.generate_tokens(
            io.StringIO(text).readline
        ):
            if start_line > line:
                column = 0
            kept.append(" " * (start_column - column))
            docstring = kind == tokenize.STRING and (before in _STATEMENT_START or start_column == 0)
            if kind != tokenize.COMMENT and not docstring:
                kept.append(token)
            line, column, before = end_line, end_column, kind
    except Exception:  # the tokenizer's exceptions are many and differ between versions of Python
        return text
    return _without_blank_lines("".join(kept))


def _without_blank_lines(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if line.strip())
