"""What is imported for a candidate before its own code runs."""

import re

APPS_PRELUDE = """\
import sys
import time
import itertools
from itertools import accumulate, product, permutations, combinations
import collections
from collections import Counter, OrderedDict, deque, defaultdict, ChainMap
from functools import lru_cache
import math
from math import sqrt, sin, cos, tan, ceil, fabs, floor, gcd, exp, log, log2
import fractions
from typing import List, Tuple
import random
import heapq
from heapq import *
"""
"""The names that the checker published with APPS gives every program (Hendrycks et al. 2021, eval/testing_util.py);
scores made without them are not comparable. It has numpy as well, see `apps_prelude`."""

ANY_LENGTH = '__import__("sys").set_int_max_str_digits(0)\n'
"""The published tests hold integers of more than 4,300 digits; they were made with a Python that had no such limit."""
_STREAMS = "stdin = sys.stdin\nstdout = sys.stdout\n"
_NUMPY = "try:\n    import numpy as np\nexcept ImportError:\n    pass\n"
_NAMES_NUMPY = re.compile(r"\bnp\b")


def apps_prelude(source: str, *, script: bool) -> str:
    """The prelude of one candidate.

    numpy is imported only for a source that says `np`, because importing it takes longer than most tests, and passed
    over where the sandbox has none: many programs call a variable of their own so.

    Args:
        source: the candidate.
        script: whether it reads standard input; the published checker then also binds `stdin` and `stdout`.
    """
    numpy = _NUMPY if _NAMES_NUMPY.search(source) else ""
    return APPS_PRELUDE + numpy + (_STREAMS if script else "")
