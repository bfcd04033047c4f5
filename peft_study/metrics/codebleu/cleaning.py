"""What the evaluators do to a program's text before they parse it."""

import io
import re
import tokenize

_OPENING = re.compile(r"//|/\*|'|\"")
# Possessive, so that a quote without an end costs one scan.
_REST = {
    "//": re.compile(r"[^\n]*"),
    "/*": re.compile(r".*?\*/", re.DOTALL),
    "'": re.compile(r"(?:\\.|[^\\'])*+'", re.DOTALL),
    '"': re.compile(r'(?:\\.|[^\\"])*+"', re.DOTALL),
}
_STATEMENT_START = {tokenize.INDENT, tokenize.NEWLINE}


def without_java_comments(text: str) -> str:
    """Take out Java's comments, each of which leaves a space, and the lines that are then blank.

    Applied to Python, as CodeXGLUE's evaluator does, it keeps `#` and cuts a line at an integer division.
    """
    kept: list[str] = []
    position = written = 0
    unclosed: set[str] = set()
    while found := _OPENING.search(text, position):
        opening, position = found.group(), found.start() + 1
        # What is never closed once is never closed later, so that each kind is searched in vain only once.
        rest = None if opening in unclosed else _REST[opening].match(text, found.end())
        if rest is None:
            unclosed.add(opening)
            continue
        position = rest.end()
        if opening[0] == "/":
            kept += text[written : found.start()], " "
            written = position
    return _without_blank_lines("".join(kept) + text[written:])


def without_python_comments(text: str) -> str:
    """Take out Python's comments and docstrings as the package codebleu does; what does not tokenise stays as it is.

    A string is taken for a docstring where it opens a line that is not a continuation: after an indentation, after a
    logical line, or in column 0. Whatever Python's tokenizer skips comes back as spaces, so a backslash at a line's
    end joins the lines.
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
    except Exception:  # the tokenizer raises errors of many kinds, which differ between Python's versions
        return text
    return _without_blank_lines("".join(kept))


def _without_blank_lines(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if line.strip())
