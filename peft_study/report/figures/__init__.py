"""The figures: their data (`drawing.py`), and how rows become data, prints and interactive plots."""

from collections.abc import Callable, Mapping

from peft_study.report.figures.costs import predicted_memory, quality_energy, quality_memory, quality_time
from peft_study.report.figures.drawing import Direction, Drawing, Line, Mark, Panel, Scale, Series
from peft_study.report.figures.examples import figure3, figure7
from peft_study.report.figures.interactive import interactive
from peft_study.report.figures.lengths import figure2
from peft_study.report.figures.memory import figure1, figure5
from peft_study.report.figures.plotting import draw_matplotlib, figure_of
from peft_study.report.figures.scores import figure4, figure6
from peft_study.report.figures.style import Style, styles_of
from peft_study.report.study import Study

__all__ = [
    "FIGURES",
    "Direction",
    "Drawing",
    "Line",
    "Mark",
    "Panel",
    "Scale",
    "Series",
    "Style",
    "draw_matplotlib",
    "figure_of",
    "interactive",
    "styles_of",
]

FIGURES: Mapping[str, Callable[[Study, Study | None], Drawing]] = {
    "figure1": figure1,
    "figure2": figure2,
    "figure3": figure3,
    "figure4": figure4,
    "figure5": figure5,
    "figure6": figure6,
    "figure7": figure7,
    "quality-memory": quality_memory,
    "quality-time": quality_time,
    "quality-energy": quality_energy,
    "predicted-memory": predicted_memory,
}
"""The paper's figures and four more: each maps rows, and optionally rows to compare with, to a drawing."""
