"""Figures 1 and 5: what fine-tuning takes of a card's memory."""

from peft_study.report.figures.drawing import Direction, Drawing, Line, Panel
from peft_study.report.figures.selection import GIGABYTES, PERCENT, Selection, quality, select
from peft_study.report.figures.series import bars, finish
from peft_study.report.figures.variants import variant_label
from peft_study.report.names import dataset_name, model_name
from peft_study.report.study import Study

CARD_GB = 24.0
"""Memory of the study's card, an RTX A5000."""


def figure1(study: Study, other: Study | None = None) -> Drawing:
    """Peak memory of full fine-tuning, LoRA and QLoRA, the smallest first, a panel for each data set.

    Args:
        study: rows of `rows.load`.
        other: rows to compare with, drawn hollow.
    """
    chosen, label = select(study, other, "full*", "lora*").measured_alike("train_peak_bytes")
    panels = []
    for dataset in chosen.datasets():
        drawn = bars(chosen.of_dataset(dataset), "train_peak_bytes", GIGABYTES, _configuration)
        # A configuration stands where its highest bar says, ours or the paper's.
        heights = [(height or 0.0, str(name)) for one in drawn for name, height in zip(one.x, one.y, strict=True)]
        categories = tuple(dict.fromkeys(name for _, name in sorted(heights, reverse=True)))[::-1]
        panels.append(Panel(dataset_name(dataset or ""), "", label, drawn, card_limit(label), categories))
    missing = "No finished cell of full fine-tuning, LoRA or QLoRA with a measured peak memory."
    return finish("figure1", "Peak memory of fine-tuning", panels, chosen, missing, _notes(chosen))


def figure5(study: Study, other: Study | None = None) -> Drawing:
    """LoRA on a base in 16, 8 and 4 bits: score and peak memory by model, for each data set.

    Args:
        study: rows of `rows.load`.
        other: rows to compare with, drawn hollow.
    """
    chosen = select(study, other, "lora*")
    measured, memory_label = chosen.measured_alike("train_peak_bytes")
    panels = []
    for dataset in chosen.datasets():
        column, label = quality(chosen.of_dataset(dataset).own)
        panels.append(_by_model(chosen.of_dataset(dataset), dataset, column, PERCENT, label, ()))
    for dataset in measured.datasets():
        here = measured.of_dataset(dataset)
        lines = card_limit(memory_label)
        panels.append(_by_model(here, dataset, "train_peak_bytes", GIGABYTES, memory_label, lines))
    missing = "No finished cell of QLoRA."
    return finish("figure5", "LoRA and QLoRA by model", panels, measured, missing, _notes(measured))


def card_limit(label: str, direction: Direction = Direction.horizontal) -> tuple[Line, ...]:
    """The limit of the study's card, across an axis of GPU memory alone."""
    return (Line("24 GB", direction, CARD_GB, "limit", limit=True),) if "GPU" in label else ()


def _by_model(
    here: Selection, dataset: str | None, column: str, factor: float, label: str, lines: tuple[Line, ...]
) -> Panel:
    """Bars of the models that were measured on a quantised base."""
    known = here.only(lambda rows: rows[column].notna() if column in rows else rows["model"].isna())
    quantised = set(known.own.loc[known.own["quantization"] != "none", "model"])
    known = known.only(lambda rows: rows["model"].isin(quantised))
    return Panel(
        dataset_name(dataset or ""),
        "",
        label,
        bars(known, column, factor, _model),
        lines,
        tuple(map(model_name, known.models())),
    )


def _notes(chosen: Selection) -> tuple[str, ...]:
    unnamed = chosen.other["train_peak_bytes"].notna() & chosen.other["dataset"].isna()
    return ("The paper does not say on which data set it measured memory.",) if unnamed.any() else ()


def _configuration(model: str, variant: str) -> str:
    return f"{model_name(model)}, {variant_label(variant)}"


def _model(model: str, variant: str) -> str:
    return model_name(model)
