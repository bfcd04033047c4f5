"""Embeddings of texts, kept in the user's cache by content and model, in files that are read block by block."""

import hashlib
import io
import json
import logging
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from peft_study.results.cache import cache_folder
from peft_study.results.store import sync_folder

# Raise it when the same texts and model would give other embeddings, so that files of earlier versions are ignored.
VERSION = 1
TEXTS_AT_ONCE = 16_384
"""Texts of a block: 25 MB of embeddings with 384 dimensions in float32."""
Embeddings = npt.NDArray[np.float32]
Encode = Callable[[Sequence[str]], Embeddings]
_DIGEST_BYTES = hashlib.sha256().digest_size
logger = logging.getLogger(__name__)


class EmbeddingFile:
    """Embeddings in an open .npy file. Behind the array are 32 bytes, the SHA-256 of everything before them.

    Blocks are read and not mapped, because mapped pages count as the memory of the process.

    Args:
        path: the file.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is damaged, or holds something other than embeddings.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self.shape, self._start = _checked(file)
            # An open file stays readable when another process replaces it.
            self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)

    def __getitem__(self, part: slice) -> Embeddings:
        start, stop, step = part.indices(self.shape[0])
        if step != 1:
            raise ValueError(f"the step of a slice must be 1, got {step}")
        values = np.empty((max(0, stop - start), self.shape[1]), dtype=np.float32)
        buffer, position = values.reshape(-1).view(np.uint8).data, self._start + start * values.itemsize * self.shape[1]
        # A read of more than 2 GB returns less.
        while buffer:
            count = os.preadv(self._descriptor, [buffer], position)
            if count == 0:
                raise OSError(f"the file of embeddings must hold {self.shape[0]} rows, got fewer")
            buffer, position = buffer[count:], position + count
        return values


def _checked(file: BinaryIO) -> tuple[tuple[int, int], int]:
    """Return the shape of an array and the position of its first value, after a comparison with the digest."""
    major, _ = np.lib.format.read_magic(file)
    if major != 1:
        raise ValueError(f"the version of the .npy format must be 1, got {major}")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
    start = file.tell()
    values = start + int(np.prod(shape)) * np.dtype(np.float32).itemsize
    size = os.fstat(file.fileno()).st_size
    if len(shape) != 2 or is_fortran or dtype != np.float32 or size != values + _DIGEST_BYTES:
        raise ValueError(f"the file must hold a matrix in float32 and its digest, got {dtype}, {shape}, {size} bytes")
    file.seek(0)
    digest, left = hashlib.sha256(), values
    while left:
        part = file.read(min(left, 1 << 20))
        digest.update(part)
        left -= len(part)
    if digest.digest() != file.read(_DIGEST_BYTES):
        raise ValueError("the digest of the file must match its content")
    return (shape[0], shape[1]), start


def cached_embeddings(texts: Sequence[str], model: str, encode: Encode) -> EmbeddingFile | Embeddings:
    """Return the embeddings of some texts, from the user's cache if it has them.

    Args:
        texts: the texts in order.
        model: everything that decides the embedding of a text, as a text.
        encode: computes embeddings of shape texts x dimensions.

    Returns:
        the embeddings, in a file of the cache, or in memory if the cache cannot be written. A damaged file is
        replaced.
    """
    folder = cache_folder("embeddings")
    if folder is None or not texts:
        return _joined(_encoded(texts, encode))
    path = folder / f"{_key(texts, model)}.npy"
    try:
        return EmbeddingFile(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        logger.warning("embeddings are computed again, because %s cannot be used: %s", path, error)
    try:
        _write(path, len(texts), _encoded(texts, encode))
        return EmbeddingFile(path)
    except OSError as error:
        # Such as a home folder that cannot be written, as in some containers, or a full disk.
        logger.warning("embeddings stay in memory, because %s cannot be written: %s", path, error)
        return _joined(_encoded(texts, encode))


def _key(texts: Sequence[str], model: str) -> str:
    digest = hashlib.sha256(json.dumps([VERSION, model, len(texts)]).encode())
    for text in texts:
        # JSON data may hold half a surrogate pair.
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _encoded(texts: Sequence[str], encode: Encode) -> Iterator[Embeddings]:
    for start in range(0, max(1, len(texts)), TEXTS_AT_ONCE):
        yield np.ascontiguousarray(encode(texts[start : start + TEXTS_AT_ONCE]), dtype=np.float32)


def _joined(blocks: Iterator[Embeddings]) -> Embeddings:
    return np.concatenate(list(blocks))


def _write(path: Path, rows: int, blocks: Iterator[Embeddings]) -> None:
    """Write embeddings under a temporary name, with their digest, and rename the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its process and moment, so that several processes may write the same embeddings.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            first = next(blocks)
            description = {"descr": "<f4", "fortran_order": False, "shape": (rows, first.shape[1])}
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(header, description)
            digest = hashlib.sha256()
            for part in chain([header.getvalue()], (block.tobytes() for block in chain([first], blocks))):
                digest.update(part)
                file.write(part)
            file.write(digest.digest())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)
