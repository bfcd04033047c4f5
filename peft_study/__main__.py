"""`python -m peft_study group=option group.key=value ...` runs one cell; with `--multirun`, every combination."""

import sys

from peft_study.interrupts import while_it_is_read
from peft_study.run import main

if __name__ == "__main__":
    sys.exit(while_it_is_read(main))
