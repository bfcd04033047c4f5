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
    # pdflatex joins letters into others: "--" becomes a dash, ",," a quotation mark.
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
# Marks that begin a list or underline a heading; all other marks are escaped anywhere.
_MARKDOWN_START = re.compile(r"\A(\d{1,9}(?=[.)])|(?=[+\-=]))")
_LATEX_NEEDS = (
    "% needs the packages booktabs, graphicx, longtable and textcomp, and fontenc with T1; a long table's columns are "
    "right from the third run on"
)
# A `table` cannot break over pages, a `longtable` can.
_ROWS_OF_A_PAGE = 45
# Longer texts get a column with line breaks.
_LONG = 40


def to_markdown(table: Table) -> str:
    """Write a table of GitHub's Markdown: the best of a column in bold, the best of a model in italics."""
    numeric = [any(row[index].value is not None for row in table.cells) for index in range(len(table.columns))]
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
        # Centred on the paper if wider than the text.
        middle = "".join(rf"\setlength{{\{side}}}{{0pt plus 1fil minus 1fil}}" for side in ("LTleft", "LTright"))
        opening = [rf"{{\tiny\setlength{{\tabcolsep}}{{2pt}}{middle}\begin{{longtable}}{{{columns}}}", rf"{caption}\\"]
        lines = [*opening, *head, r"\endhead", *body, r"\bottomrule", r"\end{longtable}", *notes, "}"]
    else:
        # Scaled down if wider than the text.
        wide = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
        opening = [r"\begin{table}", r"\centering", caption, wide, rf"\begin{{tabular}}{{{columns}}}"]
        lines = [*opening, *head, *body, r"\bottomrule", r"\end{tabular}}", *notes, r"\end{table}"]
    return "\n".join([_LATEX_NEEDS, *lines]) + "\n"


def to_csv(table: Table) -> str:
    """Write values with full precision; the ends of intervals, marks and states get columns of their own."""
    # A program reads these files, and "39.31 [35.2, 43.5] (2 of 3)" is not a number.
    extras = [_extras(table, index) for index in range(len(table.columns))]
    heads: list[str] = []
    for column, names in zip(table.columns, extras, strict=True):
        heads += [column, *(f"{column} {name}" for name in names)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(escape_formula, heads))
    for row in table.cells:
        values: list[str] = []
        for cell, names in zip(row, extras, strict=True):
            values += [_csv_value(cell), *(_csv_extra(cell, name) for name in names)]
        writer.writerow(values)
    return out.getvalue()


FORMATS: Mapping[str, tuple[str, Callable[[Table], str]]] = {
    "Markdown": ("md", to_markdown),
    "LaTeX": ("tex", to_latex),
    "CSV": ("csv", to_csv),
}
"""The suffix of a file in each format, and what writes it."""


def _markdown_text(text: str) -> str:
    # GitHub links mail addresses after it has resolved escapes and entities. An empty comment prevents that.
    escaped = _MARKDOWN.sub(lambda mark: "<!-- -->@" if mark[0] == "@" else f"\\{mark[0]}", _printable(text))
    # A row of a table cannot hold a line break.
    return escaped.replace("\n", "<br>")


def _markdown_paragraph(text: str) -> str:
    """Escape a text that begins a line, so that it is not read as a list, an underline of a heading or code."""
    # Four spaces at the start of a line make it code.
    escaped = _MARKDOWN_START.sub(r"\1\\", _markdown_text(text))
    return f"&#32;{escaped[1:]}" if escaped.startswith(" ") else escaped


def _markdown_cell(cell: Cell) -> str:
    # Stars beside white space, or without a text, are not emphasis.
    text = _markdown_text(_printable(cell.text).strip())
    return {"best": f"**{text}**", "best_of_model": f"*{text}*"}.get(cell.mark or "", text) if text else ""


def _latex_headings(table: Table) -> list[str]:
    if not any(table.groups):
        return []
    heads, rules, start = [], [], 1
    for group, columns in groupby(table.groups):
        width = len(list(columns))
        heads.append(rf"\multicolumn{{{width}}}{{c}}{{{_latex_line(group)}}}")
        if group:
            rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    return [" & ".join(heads) + r" \\", "".join(rules)]


def _latex_column(table: Table, index: int) -> str:
    cells = [row[index] for row in table.cells]
    if any(cell.value is not None for cell in cells):
        return "r"
    # The column type l allows no line breaks.
    has_lines = any(len(cell.text) > _LONG or "\n" in _printable(cell.text) for cell in cells)
    return r"p{0.4\linewidth}" if has_lines else "l"


def _latex_text(text: str) -> str:
    """Escape a text for pdflatex; letters beyond Latin-1 are printed as their code point."""
    # With T1 and Latin-1 alone, a table compiles without the fonts of every language.
    letters = "".join(
        _LATEX.get(letter)
        or (letter if letter == "\n" or letter.isascii() or 0xA1 <= ord(letter) <= 0xFF else f"[U+{ord(letter):04X}]")
        for letter in _printable(text)
    )
    # T1 joins two commas into a low quotation mark. A line break needs a line before it.
    return re.sub(r",(?=,)", ",{}", letters).replace("\n", r"\leavevmode\newline{}")


def _latex_line(text: str) -> str:
    """Escape a text for headings and captions, which must be a single line."""
    return _unbracketed(_latex_text(_printable(text).replace("\n", " ")))


def _unbracketed(text: str) -> str:
    # LaTeX reads a bracket or a star after a row's end as its argument.
    return f"{{}}{text}" if text.startswith(("[", "*")) else text


def _latex_cell(cell: Cell) -> str:
    text = _unbracketed(_latex_text(cell.text))
    return {"best": rf"\textbf{{{text}}}", "best_of_model": rf"\textit{{{text}}}"}.get(cell.mark or "", text)


def _extras(table: Table, index: int) -> list[str]:
    cells = [row[index] for row in table.cells]
    has_interval = any(cell.low is not None for cell in cells)
    present = {
        "low": has_interval,
        "high": has_interval,
        "seeds": any(cell.runs > 1 for cell in cells),
        "mark": any(cell.mark for cell in cells),
        "state": any(cell.state for cell in cells),
    }
    return [name for name, is_present in present.items() if is_present]


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
    """Remove invisible characters with an effect: control characters, and changes of direction such as U+202E.

    Line breaks are kept, and a tab becomes four spaces.
    """
    # A change of direction can make a name in a table read as another one.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ")
    return "".join(letter for letter in lines if letter == "\n" or unicodedata.category(letter)[0] != "C")
