"""The sources of models and data, by their names. The only file access is whether a local folder exists."""

from pathlib import Path

from peft_study.config.schema import CellConfig, DatasetSource, Weights

EMBEDDED_TOKENIZER = "tiny"
EMBEDDED_SOURCE = "package:"
LEXICAL_RETRIEVER = "tfidf"


def needs_hub(cell: CellConfig) -> bool:
    """Whether a cell names something that may have to be downloaded from the hub."""
    named = [cell.model.tokenizer, None if cell.model.weights is Weights.random else cell.model.source]
    if cell.method.retriever != LEXICAL_RETRIEVER:
        named.append(cell.method.retriever)
    remote_model = any(
        source and source != EMBEDDED_TOKENIZER and not source.startswith(EMBEDDED_SOURCE) and not Path(source).exists()
        for source in named
    )
    return remote_model or (cell.dataset.path is None and cell.dataset.source is DatasetSource.hub)
