"""The files of the hub that the cells of a sweep load."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase

from peft_study.cli.fetch.table import DATASET, MODEL, Need
from peft_study.config.schema import CellConfig, DatasetConfig, DatasetSource, ExampleChoice, Weights
from peft_study.config.sources import LOCAL_RETRIEVERS, names_repository

# Only listed files are downloaded, so that no pickle and no code of a repository ever is.
WEIGHTS = "*.safetensors"
WEIGHT_FILES = (WEIGHTS, "model.safetensors.index.json", "config.json", "generation_config.json")
VOCABULARY_FILES = ("vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model")
TOKENIZER_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.json",
    "chat_template.jinja",
    *VOCABULARY_FILES,
)
# sentence-transformers stores the settings of each part, and the weights of some, in numbered folders.
RETRIEVER_FILES = (WEIGHTS, "*.json", *VOCABULARY_FILES, "[0-9]_*/*.json", "[0-9]_*/*.safetensors")
DATA_FILES = ("**/*.parquet", "**/*.json*", "**/*.csv*")
# `datasets` reads names of splits and files from the card.
DATA_CARD = ("README.md", ".huggingface.yaml", "dataset_infos.json")


def needs_of(cell: CellConfig) -> Iterator[Need]:
    """The files that a cell loads from the hub; none for parts that are local, generated, random or in the package."""
    model, method, dataset = cell.model, cell.method, cell.dataset
    # Random weights need the tokenizer alone: the architecture is in the model's YAML.
    source, tokenizer = _on_hub(model.source), _on_hub(model.tokenizer or model.source)
    tokenizer_use = f"{model.name} (tokenizer)"
    if source and model.weights is Weights.pretrained:
        patterns = (*WEIGHT_FILES, *TOKENIZER_FILES) if tokenizer == source else WEIGHT_FILES
        yield Need(source, MODEL, model.revision, patterns, (WEIGHTS,), (model.name,))
    elif source and tokenizer == source:
        yield Need(source, MODEL, model.revision, TOKENIZER_FILES, (), (tokenizer_use,))
    if tokenizer and tokenizer != source:
        yield Need(tokenizer, MODEL, None, TOKENIZER_FILES, (), (tokenizer_use,))
    retriever = _on_hub(method.retriever) if method.examples is ExampleChoice.nearest else None
    if retriever:
        yield Need(retriever, MODEL, None, RETRIEVER_FILES, (WEIGHTS,), (f"{method.name} (retrieval)",))
    if is_remote(dataset):
        files = tuple(dataset.hub_files.values()) or DATA_FILES
        yield Need(str(dataset.hub_id), DATASET, dataset.revision, (*files, *DATA_CARD), files, (dataset.name,))


def merged(needs: Iterable[Need]) -> list[Need]:
    """Merge the needs of each repository and revision, in the order of their first occurrence."""
    by_source: dict[tuple[str, str, str | None], Need] = {}
    for need in needs:
        key = (need.kind, need.repository, need.revision)
        earlier = by_source.setdefault(key, need)
        by_source[key] = replace(
            earlier,
            patterns=tuple(dict.fromkeys(earlier.patterns + need.patterns)),
            essential=tuple(dict.fromkeys(earlier.essential + need.essential)),
            uses=tuple(dict.fromkeys(earlier.uses + need.uses)),
        )
    return list(by_source.values())


def matches(path: str, pattern: str) -> bool:
    """Whether a pattern matches a file of a repository; `*` stays within a folder, unlike in `huggingface_hub`."""
    if "**" in pattern:
        return fnmatchcase(path, pattern.replace("**/", "*"))
    return fnmatchcase(path, pattern) and path.count("/") == pattern.count("/")


def is_remote(dataset: DatasetConfig) -> bool:
    """Whether a data set comes from the hub."""
    return dataset.path is None and dataset.source is DatasetSource.hub


def _on_hub(source: str | None) -> str | None:
    """The source if it names a repository of the hub, else None."""
    if not source or source in LOCAL_RETRIEVERS or not names_repository(source):
        return None
    return source
