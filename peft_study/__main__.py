"""`python -m peft_study group=option group.key=value ...` runs one cell; with `--multirun`, every combination."""

import sys

from peft_study.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
