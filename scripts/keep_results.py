"""Copy a study's results in a size that fits a repository: every result.json, and the first samples of every cell.

    python scripts/keep_results.py multirun/demo docs/demo_results/demo --samples 25

Scores, intervals and costs stay those of all samples. predictions.jsonl holds the first of the scored samples. The
folders of the machine that made them are removed.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from peft_study.errors import UserError
from peft_study.results.schema import RunResult, Status
from peft_study.results.store import PREDICTIONS, RESULT, read_result, write_atomically

LIMIT_BYTES = 3_000_000
"""Everyone who clones the repository downloads them."""


def keep(study: Path, out: Path, samples: int) -> list[tuple[RunResult, int]]:
    """Copy a study's cells without their weights and with their first samples only.

    Args:
        study: folder of the study; its folders are cells.
        out: target folder; it must be empty or missing.
        samples: number of samples to keep of each cell.

    Returns:
        The record of every cell, and the number of its samples that were kept.

    Raises:
        UserError: the study has no cell, a cell did not succeed, `out` holds files, or the copy would be too large.
    """
    if out.exists() and any(out.iterdir()):
        raise UserError("the folder must be empty", where=str(out), hint="remove it, or name another folder")
    kept: dict[Path, str] = {}
    records = []
    for file in sorted(study.glob(f"*/{RESULT}")):
        result = read_result(file)
        if result is None or result.status is not Status.ok:
            raise UserError("every cell must have succeeded", where=str(file), hint="run the study's command again")
        result.config = _without_folders(result.config) | {"output_dir": "multirun"}
        rows = _first_lines(file.with_name(PREDICTIONS), samples)
        kept[out / file.parent.name / RESULT] = json.dumps(result.to_json(), indent=1) + "\n"
        if rows:
            kept[out / file.parent.name / PREDICTIONS] = "".join(rows)
        records.append((result, len(rows)))
    if not records:
        raise UserError(
            "the study must hold a finished cell", where=str(study), hint="name a study's folder: multirun/demo"
        )
    total = sum(len(text.encode()) for text in kept.values())
    if total > LIMIT_BYTES:
        what = f"the copy must be at most {LIMIT_BYTES:,} bytes, got {total:,}"
        raise UserError(what, where=str(out), hint="fewer --samples")
    for path, text in kept.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    return records


def _without_folders(value: Any) -> Any:
    """A config in which each absolute path is its last name, because other machines have other folders."""
    if isinstance(value, dict):
        return {key: _without_folders(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_folders(entry) for entry in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _first_lines(file: Path, number: int) -> list[str]:
    with file.open(encoding="utf-8") as lines:
        return [line for _, line in zip(range(number), lines, strict=False)]


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="folder of a study, such as multirun/demo")
    parser.add_argument("out", type=Path, help="folder for the copy")
    parser.add_argument("--samples", type=int, default=25, help="samples of each cell; 0 leaves all out (default: 25)")
    options = parser.parse_args()
    try:
        records = keep(options.study, options.out, options.samples)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(records)} cells, {sum(rows for _, rows in records):,} samples: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
