"""The process of a row: import the libraries, read the row from standard input, run it, and write its JSON.

echo '{"row": {...}, "path": "row.json", "command": "..."}' | python -m benchmarks.gpu.worker
"""

import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"

from benchmarks.gpu import generation, memory, predictions, record, suite, training
from benchmarks.gpu.rows import GENERATION, MEMORY, PREDICTION, TESTS, TRAINING, Row
from peft_study.cell.environment import one_process

RUNS = {
    MEMORY: memory.run,
    TRAINING: training.run,
    GENERATION: generation.run,
    TESTS: suite.run,
    PREDICTION: predictions.run,
}


def main() -> None:
    """Run the row from standard input; end without a row if the input is empty."""
    line = sys.stdin.readline()
    if not line:
        return
    order = json.loads(line)
    row = Row.from_json(order["row"])
    values = {
        "name": row.name,
        "kind": row.kind,
        "overrides": list(row.overrides),
        "command": order["command"],
        **record.card(),
        "versions": record.versions(),
    }
    results = record.RowRecord(Path(order["path"]), values)
    with one_process():
        RUNS[row.kind](row, results)
    results.write()


if __name__ == "__main__":
    main()
