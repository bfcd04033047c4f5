"""Measure on a GPU: peaks and step times of figure 1's rows, training and generation of a 7B, and tests/gpu.

    python -m benchmarks.gpu --seconds 420 --out FOLDER
    python -m benchmarks.gpu --seconds 300 --out FOLDER --device cpu --tiny     (the same rows on shrunken models)

Weights are random, so nothing is downloaded. Rows run in order of importance, each in a process. FOLDER/gpu.json is
updated after every phase of a row. A row that does not end in time is killed.
"""

import argparse
import re
import sys
from pathlib import Path

from benchmarks.gpu.driver import Driver
from benchmarks.gpu.rows import benchmark_rows
from peft_study.console.interrupts import termination_raises

LEAST_SECONDS = 20.0


def main() -> int:
    """Run the benchmark. The exit code is 0 even if a row failed, because its error is a result."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=420.0, help="time limit of the benchmark")
    parser.add_argument("--out", type=Path, required=True, help="folder of gpu.json and gpu.log")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="use models of two small layers")
    parser.add_argument("--rows", default="", help="a regular expression; run only rows whose names it matches")
    options = parser.parse_args()
    if options.seconds < LEAST_SECONDS:
        parser.error(f"--seconds must be at least {LEAST_SECONDS:.0f}, got {options.seconds:g}")
    rows = [row for row in benchmark_rows(options.device, tiny=options.tiny) if re.search(options.rows, row.name)]
    if not rows:
        parser.error(f"--rows must match a row, got {options.rows!r}")
    options.out.mkdir(parents=True, exist_ok=True)
    # The name of the folder means nothing on other machines.
    words = ["FOLDER" if word == str(options.out) else word for word in sys.argv[1:]]
    command = " ".join(["python", "-m", "benchmarks.gpu", *words])
    with termination_raises():
        succeeded = Driver(rows, options.seconds, options.out, command).run()
    print("every row succeeded" if succeeded else f"some rows failed or had no time: see {options.out / 'gpu.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
