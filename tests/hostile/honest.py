"""Ordinary programs, which have to get their pass."""

from tests.hostile.program import Kind, Program
from tests.hostile.verdicts import CHECK, TWO

_CALL, _ASSERTS = Kind.call, Kind.asserts

HONEST = [
    Program(
        "reads lines",
        "pass",
        """\
import sys
for line in sys.stdin: print(line.strip())
""",
        stdin=b"ok\n",
    ),
    Program("reads bytes", "pass", "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())", stdin=b"ok\n"),
    Program(
        "reads with input until the end",
        "pass",
        """\
try:
  while True: print(input())
except EOFError: pass
""",
        stdin=b"ok",
    ),
    Program("opens descriptor 0", "pass", "print(open(0).read().strip())", stdin=b"ok"),
    Program(
        "asks standard input what it is",
        "pass",
        """\
import sys
known = (sys.stdin.name, sys.stdin.mode, sys.stdin.buffer.name, sys.stdout.name, sys.stdout.mode, sys.stderr.mode)
print(input() if known == ('<stdin>', 'r', '<stdin>', '<stdout>', 'w', 'w') else known)
""",
        stdin=b"ok\n",
    ),
    Program(
        "keeps the line ends of standard input",
        "pass",
        "import sys; print('ok' if sys.stdin.read() == 'a\\r\\nb' else 'no')",
        stdin=b"a\r\nb",
    ),
    *(
        Program(
            f"opens standard input by {name}",
            "pass",
            f"import os, pathlib, sys\nprint({opened}.strip())",
            stdin=b"ok\n",
        )
        for name, opened in (
            ("its path", "open('/dev/stdin').read()"),
            ("its path in bytes", "open('/dev/stdin', 'rb').read().decode()"),
            ("a Path", "pathlib.Path('/dev/stdin').read_text()"),
            ("the number of its descriptor", "open('/dev/fd/0').readline()"),
            ("os.open", "os.read(os.open('/dev/stdin', os.O_RDONLY), 99).decode()"),
            ("fileinput", "__import__('fileinput').input('/dev/stdin').readline()"),
        )
    ),
    Program("opens standard output by its path", "pass", "print('ok', file=open('/dev/stdout', 'w'))"),
    Program("begins with a byte-order mark", "pass", "\ufeffprint('ok')"),
    Program(
        "prints when its objects go",
        "pass",
        """\
class Farewell:
  def __init__(self, text): self.text = text
  def __del__(self): print(self.text, end='')
def use(): return farewell
farewell = Farewell('k')
print('o', end='')
""",
    ),
    Program(
        "leaves a file on standard output open",
        "pass",
        """\
out = open(1, 'w', closefd=False)
def write(text): out.write(text)
write('ok')
""",
    ),
    Program(
        "writes from a generator that was not used up",
        "pass",
        """\
def lines():
  try: yield 'o'
  finally: print('k')
lines = lines()
print(next(lines), end='')
""",
    ),
    Program(
        "registers what to write at exit",
        "pass",
        """\
import atexit
atexit.register(print, 'ok')
""",
    ),
    Program(
        "has a main guard",
        "pass",
        """\
def main(): print('ok')
if __name__ == '__main__': main()
""",
    ),
    Program("closes standard output", "pass", "import sys; print('ok'); sys.stdout.close()"),
    Program("closes the error stream", "pass", "import sys; sys.stderr.close(); print('ok')"),
    Program("deletes standard output", "pass", "import sys; print('ok', flush=True); del sys.stdout, sys.stderr"),
    Program("takes standard output away", "pass", "import sys; print('ok', flush=True); sys.stdout = None"),
    Program(
        "wraps standard output anew",
        "pass",
        "import io, sys; sys.stdout = io.TextIOWrapper(sys.stdout.detach(), write_through=True); print('ok')",
    ),
    Program(
        "recurses nearly as deep as is allowed",
        "pass",
        """\
def f(n): return 0 if n == 0 else 1 + f(n - 1)
print('ok' if f(990) == 990 else 'no')
""",
    ),
    Program(
        "recurses deeper than is allowed",
        "pass",
        """\
def f(n): return 0 if n == 0 else 1 + f(n - 1)
try: f(1000)
except RecursionError: print('ok')
""",
    ),
    Program(
        "lifts the limit of its stack",
        "pass",
        """\
import resource
hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
resource.setrlimit(resource.RLIMIT_STACK, (hard, hard)); print('ok' if hard < 0 or hard > 1 << 27 else 'no')
""",
    ),
    Program("knows its file and help", "pass", "print('ok' if __file__ == 'main.py' and help else 'no')"),
    Program("calls exit", "pass", "print('ok'); exit()"),
    Program(
        "calls sys.exit with 0",
        "pass",
        """\
import sys
print('ok')
sys.exit(0)
""",
    ),
    Program(
        "changes a global",
        "pass",
        """\
x = 'no'
def f():
  global x
  x = 'ok'
f(); print(x)
""",
    ),
    Program(
        "recurses deeply",
        "pass",
        """\
import sys; sys.setrecursionlimit(10**6)
def f(n): return 0 if n == 0 else 1 + f(n - 1)
print('ok' if f(50000) == 50000 else 'no')
""",
    ),
    Program(
        "recurses in a thread with a big stack",
        "pass",
        """\
import sys, threading
sys.setrecursionlimit(10**6); threading.stack_size(1 << 28)
def f(n): return 0 if n == 0 else 1 + f(n - 1)
t = threading.Thread(target=lambda: print('ok' if f(20000) == 20000 else 'no')); t.start(); t.join()
""",
    ),
    Program(
        "writes at exit",
        "pass",
        """\
import atexit, os
atexit.register(os.write, 1, b'ok\\n')
""",
    ),
    Program(
        "writes a file and reads it",
        "pass",
        """\
open('x', 'w').write('ok')
print(open('x').read())
""",
    ),
    Program(
        "makes a temporary file",
        "pass",
        """\
import tempfile
with tempfile.TemporaryFile('w+') as f:
  f.write('ok'); f.seek(0); print(f.read())
""",
    ),
    Program(
        "uses the standard library",
        "pass",
        """\
import re, json, math, heapq, bisect, itertools, functools, collections, fractions, decimal, datetime, random
import string, statistics, copy, hashlib, zlib, csv, io, typing, dataclasses, enum, operator, sqlite3, zoneinfo
import logging, unicodedata
logging.getLogger('x').warning('w'); print('ok')
""",
    ),
    Program(
        "starts a process",
        "pass",
        """\
import subprocess, sys
print(subprocess.run([sys.executable, '-c', 'print("ok")'], capture_output=True, text=True).stdout)
""",
        elsewhere={"plain B": "error", "root B": "pass|error"},
    ),
    Program(
        "uses a pool of threads",
        "pass",
        """\
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as p: print('ok' if sum(p.map(int, '1234')) == 10 else 'no')
""",
    ),
    Program(
        "runs asyncio",
        "pass",
        """\
import asyncio
async def main():
  await asyncio.sleep(0); print('ok')
asyncio.run(main())
""",
    ),
    Program(
        "sets an alarm",
        "pass",
        """\
import signal, time
signal.signal(signal.SIGALRM, lambda *a: print('ok'))
signal.setitimer(signal.ITIMER_REAL, 0.01)
time.sleep(0.05)
""",
    ),
    Program(
        "replaces standard output",
        "pass",
        """\
import io, sys
out = sys.stdout; sys.stdout = io.StringIO(); print('no'); sys.stdout = out; print('ok')
""",
    ),
    Program(
        "prints letters of the world",
        "pass",
        "print('ok' if 'ж'.encode() == b'\\xd0\\xb6' and input() == 'ж' else 'no')",
        stdin="ж".encode(),
    ),
    Program(
        "pickles a class of its own",
        "pass",
        """\
import pickle
class A:
  x = 'ok'
print(pickle.loads(pickle.dumps(A())).x)
""",
    ),
    Program(
        "is a method with a function's name",
        "pass",
        "from operator import add as f\nclass Solution:\n  def f(self, x): return x + 1",
        _CALL,
    ),
    Program("is a function", "pass", "def f(x): return x + 1", _CALL),
    Program(
        "is a method of Solution",
        "pass",
        """\
from typing import List
class Solution:
  def f(self, x: int) -> int: return x + 1
""",
        _CALL,
    ),
    Program(
        "prints beside its answer",
        "pass",
        """\
def f(x):
  print('debugging')
  return x + 1
""",
        _CALL,
    ),
    Program(
        "does not run its main guard in a call",
        "pass",
        """\
def f(x): return x + 1
if __name__ == '__main__': raise ValueError
""",
        _CALL,
    ),
    Program("holds its assertions", "pass", "def f(x): return x + 1", _ASSERTS, TWO),
    Program("holds a check", "pass", "def f(x): return x + 1", _ASSERTS, CHECK),
    Program(
        "raises what the tests want",
        "pass",
        """\
def f(x):
  if x < 0: raise ValueError
  return 2
""",
        _ASSERTS,
        """\
try:
    f(-1)
except ValueError:
    pass
else:
    assert False
assert f(1) == 2
""",
    ),
    Program(
        "holds assertions on many types",
        "pass",
        """\
from collections import Counter
from decimal import Decimal
def f(x):
  known = [(1, 2.5), {3}, {'a': b'b'}, 1j, None, 10 ** 30]
  return [*known, Counter('aab'), Decimal('1.5'), '\\ud800', float('inf')][x]
""",
        _ASSERTS,
        """\
from decimal import Decimal
assert f(0) == (1, 2.5)
assert f(1) == {3} and f(2) == {'a': b'b'}
assert f(3) == 1j
assert f(4) is None
assert f(5) == 10 ** 30
assert f(6) == {'a': 2, 'b': 1}
assert f(7) == Decimal('1.5')
assert f(8) == '\\ud800'
assert f(9) == float('inf')
assert not f(4)
assert round(f(0)[1] - 0.25, 2) == 2.25
assert isinstance(f(0), tuple)
for i in range(3):
    assert f(i)
""",
    ),
]
