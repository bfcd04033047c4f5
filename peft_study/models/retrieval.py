"""Embed instructions, to find the training samples that are most similar to a prompt."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_matrix

from peft_study.config.sources import LEXICAL_RETRIEVER
from peft_study.data.examples import Embed
from peft_study.errors import UserError


def load_retriever(name: str, corpus: Sequence[str], device: torch.device) -> Embed:
    """Load a retriever.

    Args:
        name: hub id or local folder of a sentence-transformers model, or "tfidf", which needs no download.
        corpus: the training instructions, from which `tfidf` computes the document frequencies.
        device: device of the model.

    Returns:
        a function from texts to vectors of length 1; the vectors of `tfidf` are sparse.

    Raises:
        UserError: the model cannot be loaded.
    """
    return _lexical(corpus) if name == LEXICAL_RETRIEVER else _dense(name, device)


def _lexical(corpus: Sequence[str]) -> Embed:
    from sklearn.feature_extraction.text import TfidfVectorizer

    # Punctuation also forms tokens, because instructions mention operators.
    vectorizer = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", sublinear_tf=True)  # noqa: S106 - no password
    vectorizer.fit(corpus)

    def embed(texts: Sequence[str]) -> csr_matrix:
        # Sparse: among 5,000 instructions the search took a thirteenth of the time (benchmarks/retrieval.py).
        # Products of 32-bit weights are exact in 64 bits. So equal instructions get equal similarities, whatever the
        # order of the sums, and the order of the neighbours does not depend on rounding.
        return csr_matrix(vectorizer.transform(texts)).astype(np.float32).astype(np.float64)

    return embed


def _dense(name: str, device: torch.device) -> Embed:
    from sentence_transformers import SentenceTransformer

    try:
        # The same limits as for base models: no code from the hub, and no pickle.
        model = SentenceTransformer(
            name, device=str(device), trust_remote_code=False, model_kwargs={"use_safetensors": True}
        )
    except (OSError, ValueError, ImportError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(
            f"the retriever {name} cannot be loaded: {reason}",
            where="method.retriever",
            hint=f"check the network or the cache; method.retriever=FOLDER, or method.retriever={LEXICAL_RETRIEVER}",
        ) from error

    def embed(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        vectors = model.encode(list(texts), normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)

    return embed
