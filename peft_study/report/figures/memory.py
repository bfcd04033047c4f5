"""Figures 1 and 5: the GPU memory that fine-tuning needs."""

from peft_study.report.figures.drawing import Direction, Drawing, Line, Panel
from peft_study.report.figures.selection import Selection, quality, select, variant_label
from peft_study.report.figures.series import finish, make_bars
from peft_study.report.names import model_name
from peft_study.report.study import Study

CARD_GB = 24.0
"""Memory of the paper's GPU, an RTX A5000."""


def figure1(study: Study, other: Study | None = None) -> Drawing:
    """Draw peak memory of full fine-tuning, LoRA and QLoRA, the smallest first, a panel for each data set.

    Args:
        study: rows of `rows.load`.
        other: rows to compare with, drawn hollow.
    """
    chosen, label = select(study, other, "full*", "lora*").with_comparable_memory("train_peak_bytes")
    panels = []
    for title, selection in chosen.by_dataset():
        drawn = make_bars(selection, "train_peak_bytes", _configuration)
        # The higher of its two bars, ours or the paper's, decides a configuration's place.
        heights = [
            (height or 0.0, str(name)) for series in drawn for name, height in zip(series.x, series.y, strict=True)
        ]
        categories = tuple(dict.fromkeys(name for _, name in sorted(heights, reverse=True)))[::-1]
        panels.append(Panel(title, "", label, drawn, card_limit(label), categories))
    missing = "No finished cell of full fine-tuning, LoRA or QLoRA with a measured peak memory."
    return finish("figure1", "Peak memory of fine-tuning", panels, chosen, missing, _notes(chosen))


def figure5(study: Study, other: Study | None = None) -> Drawing:
    """Draw score and peak memory of LoRA on a base in 16, 8 and 4 bits, by model and for each data set.

    Args:
        study: rows of `rows.load`.
        other: rows to compare with, drawn hollow.
    """
    chosen = select(study, other, "lora*")
    measured, memory_label = chosen.with_comparable_memory("train_peak_bytes")
    panels = []
    for title, selection in chosen.by_dataset():
        column, label = quality(selection.rows)
        panels.append(_by_model(title, selection, column, label, ()))
    # All scores before all peaks, so that panels with the same axis stand side by side.
    lines = card_limit(memory_label)
    for title, selection in measured.by_dataset():
        panels.append(_by_model(title, selection, "train_peak_bytes", memory_label, lines))
    missing = "No finished cell of QLoRA."
    return finish("figure5", "LoRA and QLoRA by model", panels, measured, missing, _notes(measured))


def card_limit(label: str, direction: Direction = Direction.horizontal) -> tuple[Line, ...]:
    """Draw the limit of the card, unless the axis is not about GPU memory."""
    return (Line("24 GB", direction, CARD_GB, "limit", limit=True),) if "GPU" in label else ()


def _by_model(title: str, selection: Selection, column: str, label: str, lines: tuple[Line, ...]) -> Panel:
    """Draw bars of the models that were run on a quantised base."""
    # A model without a quantised run has nothing to show beside its 16 bits; figure 1 has it.
    measured = selection.only(lambda rows: rows[column].notna() if column in rows else rows["model"].isna())
    quantised = set(measured.rows.loc[measured.rows["quantization"] != "none", "model"])
    measured = measured.only(lambda rows: rows["model"].isin(quantised))
    drawn = make_bars(measured, column, lambda model, _: model_name(model))
    return Panel(title, "", label, drawn, lines, categories=tuple(map(model_name, measured.models())))


def _notes(chosen: Selection) -> tuple[str, ...]:
    unnamed = chosen.compared["train_peak_bytes"].notna() & chosen.compared["dataset"].isna()
    return ("The paper does not say on which data set it measured memory.",) if unnamed.any() else ()


def _configuration(model: str, variant: str) -> str:
    return f"{model_name(model)}, {variant_label(variant)}"
