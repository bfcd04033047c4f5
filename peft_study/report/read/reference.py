"""The paper's numbers as rows with the columns of `rows.load`, so that the same code shows and compares both.

Its CodeBLEU is `codebleu_codexglue` here. Its test scores are those under the rules of the study's package
(`introductory/apps_package_pass@1`, with `scoring.apps_package_rules=true`). These are computed as in the paper.
`codebleu` and `pass@1` are stricter, and `apps_pass@1` has the comparator of APPS but our rules for programs.
"""

from collections.abc import Iterable, Mapping

import pandas as pd

from peft_study.metrics.registry import published_as
from peft_study.report.names import PAPER
from peft_study.report.read.cells import COLUMNS, Row
from peft_study.report.read.paper import rows
from peft_study.report.read.rows import frame_of

_STATED = "stated"
# The paper says peak GPU memory, but not how it was measured.
_MEMORY_KIND = "gpu_peak"

_SLM = {"codet5p-220m": "t5", "codet5p-770m": "t5", "codegen-350m-mono": "codegen"}
_KINDS = {"full": "full", "zero-shot": "prompting", "icl": "prompting", "rag": "prompting"}
_TEST_SAMPLES = {"conala": 543.0, "codealpacapy": 628.0, "apps": 750.0}


def paper_rows() -> pd.DataFrame:
    """Return every number that the paper states, in the columns of `rows.load` and "certainty".

    Scores are shares, memory is in bytes. Each model, method, quantization, data set and number of examples has a row.
    The rows of figure 1 have no data set, as the paper names none. Its best ICL and RAG have no number of examples.

    Source: arXiv 2308.10462v3, tables 3 and 4, figures 1 and 5, and the text on figures 3 and 7.
    """
    by_key: dict[tuple[str | None, ...], Row] = {}
    for row in (*_table3(), *_table4(), *_figure1(), *_figure5(), *_text()):
        key = tuple(row[name] for name in ("model", "method", "quantization", "dataset"))
        if key in by_key:
            # Table 3 takes precedence over figure 5, as the order of the figure's labels is partly inferred.
            by_key[key] = {**row, **{name: value for name, value in by_key[key].items() if value is not None}}
        else:
            by_key[key] = row
    merged = by_key.values()
    frame = frame_of([{name: value for name, value in row.items() if name != "certainty"} for row in merged])
    frame.insert(len(COLUMNS), "certainty", pd.Series([row["certainty"] for row in merged], dtype=object))
    return frame


def as_named_here(other: pd.DataFrame, models: Iterable[str]) -> pd.DataFrame:
    """Rename the models of rows to match those that they are compared with.

    The paper's figure 1 names CodeLlama-13B and -34B without a variant; the study's are the Python ones.

    Args:
        other: rows of `paper_rows` or another study.
        models: the models that the rows are compared with.
    """
    # Only if the study lacks the plain variant: a study with both must not have one compared with the other's numbers.
    present = set(models)
    renamed = {plain: f"{plain}-python" for plain in ("codellama-13b", "codellama-34b")}
    renamed = {plain: full for plain, full in renamed.items() if plain not in present and full in present}
    return other.assign(model=other["model"].replace(renamed)) if renamed else other


def is_paper(other: pd.DataFrame) -> bool:
    """Return whether all rows are the paper's."""
    return len(other) > 0 and bool((other["source"] == PAPER).all())


def _table3() -> Iterable[Row]:
    for line in rows("table3"):
        for dataset in ("conala", "codealpacapy"):
            row = _row("table 3", line, dataset)
            row["trainable_parameters"] = float(line["trainable_params"].removesuffix("M")) * 1e6
            for column in ("em@1", "em@10", "codebleu"):
                row |= dict.fromkeys(published_as(column), _share(line[f"{dataset}_{column}"]))
            yield row


def _table4() -> Iterable[Row]:
    """Return a row for each configuration, from the lines of its three levels."""
    # A sampled cell counts as drawn. The package samples APPS at temperature 0.6 and top-p 0.95.
    by_cell: dict[str, Row] = {}
    for line in rows("table4"):
        row = _row("table 4", line, "apps")
        row["sampled"] = True
        row = by_cell.setdefault(row["cell_id"], row)
        for name in ("avg_tests_passed", "pass@1", "pass@2", "pass@5"):
            row |= {f"{line['level']}/{metric}": _share(line[name]) for metric in published_as(name)}
    return by_cell.values()


def _figure1() -> Iterable[Row]:
    # The figure has one bar for a model and method, and the text names no data set.
    for line in rows("figure1"):
        peak = float(line["peak_memory_gb"]) * 1e9
        yield _row("figure 1", line, None) | {"train_peak_bytes": peak, "peak_bytes": peak, "memory_kind": _MEMORY_KIND}


def _figure5() -> Iterable[Row]:
    for line in rows("figure5"):
        for dataset in ("conala", "codealpacapy"):
            row = _row("figure 5", {**line, "method": "lora"}, dataset)
            # One entry of the file covers both data sets, or the one that it names.
            certainty = _STATED if line["certainty"].startswith("stated") else line["certainty"]
            if "conala stated" in line["certainty"]:
                certainty = "stated in the text" if dataset == "conala" else "bar label"
            yield row | {"em@10": _share(line[f"{dataset}_em@10"]), "certainty": certainty}


def _text() -> Iterable[Row]:
    for line in rows("text_values"):
        # The curves of figures 3 and 7 are only drawn, so the best of each is all that can be quoted.
        row = _row(line["figure"].replace("figure", "text on figure "), line, line["dataset"])
        yield row | {line["metric"]: _share(line["value"])}


def _row(item: str, line: Mapping[str, str], dataset: str | None) -> Row:
    model, method, quantization = line["model"], line["method"], line.get("quantization", "none")
    row: Row = dict.fromkeys(COLUMNS)
    return row | {
        "cell_id": "/".join(part for part in (PAPER, item, model, method, quantization, dataset) if part),
        "study": PAPER,
        "status": "ok",
        "model": model,
        "family": _SLM.get(model) or ("llama" if model.startswith("codellama") else "codegen2"),
        "size_class": "slm" if model in _SLM else "llm",
        "method": method,
        "kind": _KINDS.get(method, "adapter"),
        "quantization": quantization,
        "dataset": dataset,
        "num_examples": 0.0 if _KINDS.get(method) != "prompting" or method == "zero-shot" else None,
        "sampled": False,
        "test_samples": None if dataset is None else _TEST_SAMPLES[dataset],
        "source": PAPER,
        "certainty": _STATED,
    }


def _share(percentage: str) -> float:
    """Return a percentage as a share, rounded so that 100 times the share prints as in the paper."""
    return round(float(percentage) / 100, 6)
