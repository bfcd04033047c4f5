"""Writes tables as Markdown, LaTeX and CSV.

Texts may come from a model or from anybody's data, so every text is escaped.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Mapping
from itertools import groupby

from peft_study.report.outward import escape_formula
from peft_study.report.tables.table import MISSING, Cell, Table

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "'": r"\textquotesingle{}",
    '"': r"\textquotedbl{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "-": r"{-}",
    "`": r"\textasciigrave{}",
    "–": r"\textendash{}",  # noqa: RUF001
    "—": r"\textemdash{}",
    "±": r"$\pm$",
    "Δ": r"$\Delta$",
    "−": r"$-$",  # noqa: RUF001
    "×": r"$\times$",  # noqa: RUF001
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    **{letter: f"\\{letter}" for letter in "&%$#_"},
}
# Beside the marks: what GitHub's Markdown makes addresses of, "https://", "www." and "a@b.c", which "EM@1" is not.
_MARKDOWN = re.compile(r"[\\`*_{}\[\]<>#|~$&!]|:(?=//)|(?<=www)\.|(?<=\S)@(?=[\w.-]*\.\w)", re.IGNORECASE)
# What makes a list or a heading's underline of a paragraph; the other marks are escaped wherever they stand.
_MARKDOWN_START = re.compile(r"\A(\d{1,9}(?=[.)])|(?=[+\-=]))")
_LATEX_NEEDS = (
    "% needs the packages booktabs, graphicx, longtable and textcomp, and fontenc with T1; a long table's columns are "
    "right from the third run on"
)
_ROWS_OF_A_PAGE = 45
# A paragraph column, as text of this length would run off the page in one line.
_LONG = 40


def to_markdown(table: Table) -> str:
    """Write a table of GitHub's Markdown: the best of a column in bold, the best of a model in italics."""
    numeric = _numeric(table)
    lines = [f"### {_markdown_text(table.title)}", ""]
    lines.append("| " + " | ".join(_markdown_text(name) for name in table.columns) + " |")
    lines.append("|" + "|".join("---:" if right else "---" for right in numeric) + "|")
    lines += ["| " + " | ".join(_markdown_cell(cell) for cell in row) + " |" for row in table.cells]
    lines += [line for note in table.notes for line in ("", _markdown_paragraph(note))]
    return "\n".join(lines) + "\n"


def to_latex(table: Table) -> str:
    """Write a LaTeX table for `booktabs`: the best of a column in bold, the best of a model in italics."""
    columns = "".join(_latex_column(table, index) for index in range(len(table.columns)))
    caption = rf"\caption{{{_latex_line(table.title)}}}\label{{tab:{re.sub(r'[^A-Za-z0-9-]', '-', table.name)}}}"
    heads = " & ".join(_latex_line(name) for name in table.heads) + r" \\"
    head = [r"\toprule", *_latex_headings(table), heads, r"\midrule"]
    body = [" & ".join(_latex_cell(cell) for cell in row) + r" \\" for row in table.cells]
    notes = [rf"\par\smallskip{{\footnotesize {_latex_text(note)}\par}}" for note in table.notes]
    if len(table.cells) > _ROWS_OF_A_PAGE:
        # In the middle of the paper where it is wider than the text.
        middle = "".join(rf"\setlength{{\{side}}}{{0pt plus 1fil minus 1fil}}" for side in ("LTleft", "LTright"))
        opening = [rf"{{\tiny\setlength{{\tabcolsep}}{{2pt}}{middle}\begin{{longtable}}{{{columns}}}", rf"{caption}\\"]
        lines = [*opening, *head, r"\endhead", *body, r"\bottomrule", r"\end{longtable}", *notes, "}"]
    else:
        # Scaled down where it is wider than the page.
        wide = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
        opening = [r"\begin{table}", r"\centering", caption, wide, rf"\begin{{tabular}}{{{columns}}}"]
        lines = [*opening, *head, *body, r"\bottomrule", r"\end{tabular}}", *notes, r"\end{table}"]
    return "\n".join([_LATEX_NEEDS, *lines]) + "\n"


def to_csv(table: Table) -> str:
    """Write values with full precision; the ends of intervals, marks and states get columns of their own."""
    extras = [_extras(table, index) for index in range(len(table.columns))]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        escape_formula(name)
        for column, more in zip(table.columns, extras, strict=True)
        for name in (column, *(f"{column} {extra}" for extra in more))
    )
    for row in table.cells:
        writer.writerow(
            value
            for cell, more in zip(row, extras, strict=True)
            for value in (_csv_value(cell), *(_csv_extra(cell, extra) for extra in more))
        )
    return out.getvalue()


FORMATS: Mapping[str, tuple[str, Callable[[Table], str]]] = {
    "Markdown": ("md", to_markdown),
    "LaTeX": ("tex", to_latex),
    "CSV": ("csv", to_csv),
}
"""The suffix of a file in each format, and what writes it."""


def _numeric(table: Table) -> list[bool]:
    """Which columns hold numbers, which stand at the right."""
    return [any(row[index].value is not None for row in table.cells) for index in range(len(table.columns))]


def _spans(table: Table) -> list[tuple[str, int]]:
    """Headings and how many columns each is above."""
    return [(group, len(list(columns))) for group, columns in groupby(table.groups)]


def _markdown_text(text: str) -> str:
    return _MARKDOWN.sub(_markdown_escape, _printable(text)).replace("\n", "<br>")


def _markdown_escape(match: re.Match[str]) -> str:
    # GitHub looks for mail addresses when escapes and entities are letters again; an empty comment parts them still.
    return "<!-- -->@" if match[0] == "@" else f"\\{match[0]}"


def _markdown_paragraph(text: str) -> str:
    """A text that begins a line, and does not make a list, a heading's underline or a block of code of it."""
    escaped = _MARKDOWN_START.sub(r"\1\\", _markdown_text(text))
    return f"&#32;{escaped[1:]}" if escaped.startswith(" ") else escaped


def _markdown_cell(cell: Cell) -> str:
    # Stars beside white space, or around nothing, mark nothing.
    text = _markdown_text(_printable(cell.text).strip())
    return {"best": f"**{text}**", "best_of_model": f"*{text}*"}.get(cell.mark or "", text) if text else ""


def _latex_headings(table: Table) -> list[str]:
    if not any(table.groups):
        return []
    heads, rules, start = [], [], 1
    for group, width in _spans(table):
        heads.append(rf"\multicolumn{{{width}}}{{c}}{{{_latex_line(group)}}}")
        if group:
            rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    return [" & ".join(heads) + r" \\", "".join(rules)]


def _latex_column(table: Table, index: int) -> str:
    cells = [row[index] for row in table.cells]
    if any(cell.value is not None for cell in cells):
        return "r"
    # No line breaks in a column of single lines.
    has_lines = any(len(cell.text) > _LONG or "\n" in _printable(cell.text) for cell in cells)
    return r"p{0.4\linewidth}" if has_lines else "l"


def _latex_text(text: str) -> str:
    letters = "".join(_latex_letter(letter) for letter in _printable(text))
    # T1 makes a low quotation mark of two commas. No line can end before one has begun.
    return re.sub(r",(?=,)", ",{}", letters).replace("\n", r"\leavevmode\newline{}")


def _latex_line(text: str) -> str:
    """Where LaTeX takes a single line: headings and captions."""
    return _unbracketed(_latex_text(_printable(text).replace("\n", " ")))


def _unbracketed(text: str) -> str:
    """A row that begins with a bracket or a star would be read as the argument of the \\\\ before it."""
    return f"{{}}{text}" if text.startswith(("[", "*")) else text


def _latex_letter(letter: str) -> str:
    """One letter as pdflatex can print it: beyond Latin-1 its number stands for it."""
    if letter in _LATEX:
        return _LATEX[letter]
    return letter if letter == "\n" or ord(letter) < 0x7F or 0xA1 <= ord(letter) <= 0xFF else f"[U+{ord(letter):04X}]"


def _latex_cell(cell: Cell) -> str:
    text = _unbracketed(_latex_text(cell.text))
    return {"best": rf"\textbf{{{text}}}", "best_of_model": rf"\textit{{{text}}}"}.get(cell.mark or "", text)


def _extras(table: Table, index: int) -> list[str]:
    cells = [row[index] for row in table.cells]
    has_interval = any(cell.low is not None for cell in cells)
    wanted = {
        "low": has_interval,
        "high": has_interval,
        "seeds": any(cell.runs > 1 for cell in cells),
        "mark": any(cell.mark for cell in cells),
        "state": any(cell.state for cell in cells),
    }
    return [name for name, present in wanted.items() if present]


def _csv_value(cell: Cell) -> str:
    if cell.value is not None:
        return f"{cell.value:.10g}"
    return "" if cell.state or cell.text == MISSING else escape_formula(cell.text)


def _csv_extra(cell: Cell, name: str) -> str:
    if name in {"mark", "state"}:
        return escape_formula(getattr(cell, name) or "")
    if name == "seeds":
        return str(cell.runs) if cell.runs else ""
    value = cell.low if name == "low" else cell.high
    return "" if value is None else f"{value:.10g}"


def _printable(text: str) -> str:
    """Without what is acted upon and not seen: control characters, and what turns a text's direction (U+202E).

    Line breaks of any kind stay, and a tab is four spaces.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ")
    return "".join(letter for letter in lines if letter == "\n" or unicodedata.category(letter)[0] != "C")
