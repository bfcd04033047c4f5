"""The name and the folder of a cell. Local data and local weights count by their content, which is read here."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from peft_study.config import identity
from peft_study.config.ranges import check_names
from peft_study.config.schema import CellConfig, Weights
from peft_study.config.sources import EMBEDDED_SOURCE
from peft_study.errors import UserError

SAMPLED_PARTS, SAMPLED_BYTES = 64, 16_384  # 1 MiB of each file
_TINY_MODELS = Path(__file__).resolve().parents[1] / "models" / "tiny"


def folder_of(cell: CellConfig) -> Path:
    """The folder of the cell's results: `<output_dir>/<study>/<name>`.

    Raises:
        UserError: an invalid name, such as one with a slash, or local files that cannot be read.
    """
    check_names(cell)
    return Path(cell.output_dir) / cell.study.name / name_of(cell)


def name_of(cell: CellConfig) -> str:
    """The cell's name, in which local data and local weights count by their content.

    Raises:
        UserError: local files that cannot be read.
    """
    path, source = cell.dataset.path, cell.model.source
    data = weights = None
    if path:
        with _reading("dataset.path", path):
            data = _data_fingerprint(Path(path).expanduser())
    if source and cell.model.weights is Weights.pretrained:
        with _reading("model.source", source):
            weights = _weights_fingerprint(source)
    return identity.cell_name(cell, data, weights)


@contextmanager
def _reading(setting: str, value: str) -> Iterator[None]:
    """Name the setting in the error of a path that cannot be read, is too long, or is below an unknown home folder."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        what = f"{setting} cannot be read: {reason}"
        raise UserError(what, where=f"{setting}={value}", hint="check the path and its permissions") from error


def _data_fingerprint(path: Path) -> str:
    files = [path / f"{split}.jsonl" for split in ("train", "validation", "test")] if path.is_dir() else [path]
    # A missing file is reported when the data is loaded, so that the other cells of a sweep still run.
    stamps = tuple((str(file), file.stat().st_mtime_ns) for file in files if file.is_file())
    return _hash_files(stamps) if stamps else f"missing:{path}"


# All cells of a sweep ask for the same files. A changed file has another time of its last change.
@lru_cache(maxsize=64)
def _hash_files(stamps: tuple[tuple[str, int], ...]) -> str:
    digest = hashlib.sha256()
    for name, _ in stamps:
        digest.update(Path(name).name.encode() + b"\0")
        with Path(name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _weights_fingerprint(source: str) -> str | None:
    """A hash of a local model: of its config, and of samples of its weights; None for a model of the hub."""
    if source.startswith(EMBEDDED_SOURCE):
        folder = _TINY_MODELS / source.removeprefix(EMBEDDED_SOURCE)
    else:
        folder = Path(source).expanduser()
    if not folder.is_dir():
        return None
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("config.json"), *folder.glob("*.safetensors")]):
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as weights:
            # Reading whole files of many GB would take minutes. Training changes every part, so samples are enough.
            for part in range(SAMPLED_PARTS):
                weights.seek(size * part // SAMPLED_PARTS)
                digest.update(weights.read(SAMPLED_BYTES))
    return digest.hexdigest()
