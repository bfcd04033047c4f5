"""Keep a study's results small enough for a repository: every result.json, and the first samples of every cell.

    python scripts/keep_results.py multirun/demo docs/demo_results/demo --samples 25

Scores, intervals and costs stay those of all samples; predictions.jsonl is the beginning of what was scored. Where
results lay on the machine that made them is taken out.
"""

import argparse
import json
import sys
from pathlib import Path

from peft_study.errors import UserError
from peft_study.results.schema import RunResult, Status
from peft_study.results.store import PREDICTIONS, RESULT, read_result, write_atomically

LIMIT_BYTES = 3_000_000
"""A repository is cloned by everyone."""


def keep(study: Path, out: Path, samples: int) -> list[tuple[RunResult, int]]:
    """Copy a study's finished cells without their weights and with their first samples only.

    Args:
        study: folder whose folders are cells.
        out: where the cells go; it must not hold any yet.
        samples: of each cell, from the first.

    Returns:
        Every cell's record, and how many of its samples were kept.

    Raises:
        UserError: there is no cell, one did not end well, something is in the way, or it would be too much.
    """
    if out.exists() and any(out.iterdir()):
        raise UserError("there is something already", where=str(out), hint="remove it, or name another folder")
    kept: dict[Path, str] = {}
    found = []
    for file in sorted(study.glob(f"*/{RESULT}")):
        result = read_result(file)
        if result is None or result.status is not Status.ok:
            raise UserError("a cell did not end well", where=str(file), hint="run the study's command again")
        result.config["output_dir"] = "multirun"
        rows = _first_lines(file.with_name(PREDICTIONS), samples)
        kept[out / file.parent.name / RESULT] = json.dumps(result.to_json(), indent=1) + "\n"
        kept[out / file.parent.name / PREDICTIONS] = "".join(rows)
        found.append((result, len(rows)))
    if not found:
        raise UserError("there is no finished cell", where=str(study), hint="name a study's folder: multirun/demo")
    total = sum(len(text.encode()) for text in kept.values())
    if total > LIMIT_BYTES:
        raise UserError(f"it would be {total:,} bytes of {LIMIT_BYTES:,}", where=str(out), hint="fewer --samples")
    for path, text in kept.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    return found


def _first_lines(file: Path, number: int) -> list[str]:
    with file.open(encoding="utf-8") as lines:
        return [line for _, line in zip(range(number), lines, strict=False)]


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="folder of a study, such as multirun/demo")
    parser.add_argument("out", type=Path, help="folder for what is kept")
    parser.add_argument("--samples", type=int, default=25, help="of each cell (default: 25)")
    given = parser.parse_args()
    try:
        found = keep(given.study, given.out, given.samples)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(found)} cells, {sum(rows for _, rows in found):,} samples: {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
