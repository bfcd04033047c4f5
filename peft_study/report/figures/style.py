"""Colours and markers, the same in every figure for the same model or method, for print and for the page.

The colours are those of Okabe and Ito (2008, "Color Universal Design"), which stay distinct with common forms of colour
blindness. Markers and hatches stay distinct in grey print.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
GREY = "#6E6E6E"
# Replaces their yellow, which is invisible as a thin line on white.
OCHRE = "#997700"


@dataclass(frozen=True)
class Style:
    """The look of a series.

    Attributes:
        colour: colour as "#rrggbb".
        marker: matplotlib's name: o, s, ^, v, D, P, X, *, <, >, p, h.
        hatch: matplotlib's hatch of bars.
        line: matplotlib's style of a histogram's outline: - or --.
    """

    colour: str
    marker: str
    hatch: str = ""
    line: str = "-"


_LENGTHS = " tokens of "
_LINES_OF_LENGTHS = {"prompt": "-", "answer": "--"}
"""Styles by part, the same for all models, because their colours may look the same in grey."""

_KNOWN = {
    # A model family has a hue, and each of its sizes a marker.
    "codet5p-220m": Style(BLUE, "o"),
    "codet5p-770m": Style(BLUE, "s"),
    "codegen-350m-mono": Style(GREEN, "o"),
    "codegen2-1b": Style(GREEN, "s"),
    "codegen2-3.7b": Style(GREEN, "^"),
    "codegen2-7b": Style(GREEN, "D"),
    "codellama-7b": Style(VERMILION, "o"),
    "codellama-7b-instruct": Style(VERMILION, "s"),
    "codellama-7b-python": Style(VERMILION, "^"),
    # The paper's figure 1 names the two largest without a variant; they share the look of the Python ones.
    "codellama-13b": Style(VERMILION, "D"),
    "codellama-13b-python": Style(VERMILION, "D"),
    "codellama-34b": Style(VERMILION, "P"),
    "codellama-34b-python": Style(VERMILION, "P"),
    "tiny-t5": Style(BLUE, "X"),
    "tiny-codegen": Style(GREEN, "X"),
    "tiny-codegen2": Style(GREEN, "*"),
    "tiny-llama": Style(VERMILION, "X"),
    # Methods.
    "full": Style(BLACK, "s"),
    "lora": Style(BLUE, "o"),
    "lora+int8": Style(SKY, "^", "//"),
    "lora+nf4": Style(SKY, "v", "xx"),
    "ia3": Style(GREEN, "D", ".."),
    "prompt": Style(ORANGE, "P", "\\\\"),
    "prefix": Style(PURPLE, "X", "++"),
    "zero-shot": Style(GREY, "*", "--"),
    "icl": Style(VERMILION, "<", "oo"),
    "rag": Style(OCHRE, ">", "||"),
    # Lines.
    "limit": Style(BLACK, "o"),
    "pareto": Style(GREY, "o"),
}

# Any model or method may be added in a YAML file, so the styles for other names do not run out.
_OTHERS = tuple(
    Style(colour, marker, hatch)
    for marker, hatch in (("h", ""), ("p", "//"), ("<", ".."))
    for colour in (PURPLE, ORANGE, SKY, GREY, OCHRE, GREEN, BLUE, VERMILION)
)


def lengths_key(part: str, model: str) -> str:
    """Make the key of a histogram of lengths in tokens.

    Args:
        part: "prompt" or "answer".
        model: the model whose tokenizer counted, which gives the colour.
    """
    return f"{part}{_LENGTHS}{model}"


def styles_of(keys: Iterable[str]) -> dict[str, Style]:
    """Choose the style of every key.

    Args:
        keys: the keys of the drawings that are shown together. Unknown keys take the remaining styles in order, and
            the first one again after the 24th.
    """
    styles: dict[str, Style] = {}
    others: dict[str, Style] = {}
    # In the order of first use, so that figures shown together agree on the style of an unknown name.
    for key in keys:
        part, is_lengths, model = key.partition(_LENGTHS)
        name, line = (model, _LINES_OF_LENGTHS.get(part, "-")) if is_lengths else (key, "-")
        style = _KNOWN.get(name) or others.setdefault(name, _OTHERS[len(others) % len(_OTHERS)])
        styles[key] = replace(style, line=line)
    return styles
