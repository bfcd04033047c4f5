"""The lines of predictions.jsonl."""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path


@dataclass(frozen=True)
class Prediction:
    """One line of predictions.jsonl.

    Attributes:
        id: id of the sample.
        prompt: the text that the model read.
        reference: the reference code.
        candidates: what the model wrote, best first.
        matched: whether each candidate equals the reference after both are normalized.
        matched_raw: whether each candidate equals the reference exactly.
        scores: scores of the first candidate, and of all candidates, by name.
        verdicts: verdict on each test, by comparator, a row for each candidate; empty if nothing was run.
        counts: this sample's counts for each score that is pooled over the corpus, by the name of the score, in the
            order of the metric's columns.
        level: difficulty of the sample, if the data set states it.
        cluster: name shared by samples that are not independent, such as those that phrase the same question.
        example_rows: the examples before the prompt as indices of the training split, in the order of the prompt;
            empty without examples, and in files of earlier versions.
        example_similarities: of retrieved examples, in the same order: the cosine similarity, or the score of BM25.
    """

    id: str
    prompt: str
    reference: str
    candidates: list[str]
    matched: list[bool]
    matched_raw: list[bool] = field(default_factory=list)
    scores: dict[str, float | None] = field(default_factory=dict)
    verdicts: dict[str, list[list[str]]] = field(default_factory=dict)
    counts: dict[str, list[float]] = field(default_factory=dict)
    level: str | None = None
    cluster: str | None = None
    example_rows: list[int] = field(default_factory=list)
    example_similarities: list[float] = field(default_factory=list)


def read_predictions(file: Path) -> list[Prediction]:
    """Read a predictions.jsonl, of which every line must be valid.

    Raises:
        ValueError: a line is not a prediction. The message has its number.
        OSError: the file does not exist.
    """
    text = file.read_text(encoding="utf-8")
    # Not `splitlines`, which also splits at separators such as U+2028 that JSON texts may hold.
    lines = text.removesuffix("\n").split("\n") if text else []
    return [_prediction(line, f"{file.name}, line {number},") for number, line in enumerate(lines, start=1)]


def _prediction(line: str, where: str) -> Prediction:
    names = {spec.name for spec in fields(Prediction)}
    try:
        prediction = Prediction(**{name: value for name, value in json.loads(line).items() if name in names})
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{where} is not a prediction") from error
    texts = [prediction.id, prediction.prompt, prediction.reference]
    lists = [prediction.candidates, prediction.matched]
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(items, list) for items in lists):
        raise ValueError(f"{where} is not a prediction")
    if not prediction.candidates or not all(isinstance(text, str) for text in prediction.candidates):
        raise ValueError(f"{where} has no candidates")
    return prediction
