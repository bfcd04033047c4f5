"""Source that runs before a candidate."""

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
"""Imports that the published APPS checker adds to every program (Hendrycks et al. 2021, eval/testing_util.py). Scores
without them are not comparable. The checker also imports numpy, see `apps_prelude`."""

ANY_LENGTH = '__import__("sys").set_int_max_str_digits(0)\n'
"""The published tests hold integers of more than 4,300 digits. They come from a Python without this limit."""
_STREAMS = "stdin = sys.stdin\nstdout = sys.stdout\n"
_NUMPY = "try:\n    import numpy as np\nexcept ImportError:\n    pass\n"
_NAMES_NUMPY = re.compile(r"\bnp\b")


def apps_prelude(source: str, *, script: bool) -> str:
    """Return the prelude of one candidate.

    numpy is imported only for a source that contains the name `np`, because the import takes longer than most tests. A
    failed import is ignored, because `np` may be a variable of the program.

    Args:
        source: the candidate.
        script: the candidate reads standard input. The published checker then also binds `stdin` and `stdout`.
    """
    numpy = _NUMPY if _NAMES_NUMPY.search(source) else ""
    return APPS_PRELUDE + numpy + (_STREAMS if script else "")
