"""Programs that want a pass without an answer."""

from tests.hostile.program import Kind, Program

_EQUAL = """\
class E:
  def __eq__(s, o): return True
  __ne__ = lambda s, o: False
  __lt__ = __gt__ = __le__ = __ge__ = __contains__ = __eq__
  def __hash__(s): return 0
  def __bool__(s): return True
  def __float__(s): return 0.0
  def __sub__(s, o): return 0
  __rsub__ = __abs__ = lambda s, *o: 0
"""
_CALL, _ASSERTS = Kind.call, Kind.asserts
TWO = """\
assert f(1) == 2
assert f(2) == 3
"""
RAISING = """\
if f(0) != 2:
    raise AssertionError
"""
LEAVING = """\
import sys
def done(): sys.exit(0)
if f(1) != 2:
    raise AssertionError
done()
"""
CHECK = """\
def check(candidate):
    assert candidate(1) == 2
    assert abs(candidate(2) - 3) < 1e-6
check(f)
"""

_SIGNED = """\
import os, json
from _blake2 import blake2b
os.write(3, b'ready\\n')
told = b''
while part := os.read(4, 65536): told += part
chain = blake2b(key=bytes.fromhex(json.loads(told)['key']), digest_size=16)
def record(body):
  chain.update(body)
  body += b' ' + chain.hexdigest().encode() + b'\\n'
  while body: body = body[os.write(3, body):]
"""
_DONE = """\

record(b'done'); os._exit(0)
"""

FORGED = [
    Program(
        "signs brackets without end", "fail", _SIGNED + "record(b'[' * 100000)" + _DONE, _ASSERTS, "assert f(1) == 2\n"
    ),
    Program(
        "signs a fraction that takes for ever",
        "fail",
        _SIGNED + """record(b'[0,["F","1e400000000"]]')""" + _DONE,
        _ASSERTS,
        "assert f(1) == 2\n",
    ),
    Program(
        "asserts on a value nested too deeply",
        "fail|error",
        """\
import sys
sys.setrecursionlimit(10**6)
def f(x):
  a = []
  for _ in range(5000): a = [a]
  return a
""",
        _ASSERTS,
        "assert f(1) == 2\n",
    ),
    Program(
        "is asked for something in a range without end",
        "fail",
        "def f(x): return range(10**18)",
        _ASSERTS,
        "assert 'x' in f(1)\n",
    ),
    Program("exits early with 0", "fail", "import os; os._exit(0)", _CALL),
    Program(
        "exits early in asserts",
        "fail",
        """\
def f(x):
  import os; os._exit(0)
""",
        _ASSERTS,
        TWO,
    ),
    Program("exits by SystemExit in asserts", "fail", "def f(x): raise SystemExit(0)", _ASSERTS, TWO),
    Program("answers by sys.exit", "fail", "import sys; f = sys.exit", _ASSERTS, RAISING),
    Program(
        "answers by an exit that another file holds",
        "fail",
        "exec(compile('def f(x): raise SystemExit(0)', 'other.py', 'exec'))",
        _ASSERTS,
        RAISING,
    ),
    Program("exits by a helper of the tests", "fail", "def f(x): done()", _ASSERTS, LEAVING),
    Program(
        "exits by a helper of the tests, from a frame with the name of the tests' file",
        "fail",
        "exec(compile('def f(x): done()', 'tests.py', 'exec'))",
        _ASSERTS,
        LEAVING,
    ),
    Program(
        "exits by a helper of the tests, from a frame with a name of the standard library",
        "fail",
        "import os\nexec(compile('def f(x): done()', os.path.dirname(os.__file__) + '/unittest/main.py', 'exec'))",
        _ASSERTS,
        LEAVING,
    ),
    Program(
        "exits by a helper of the tests, from a file of its own in the standard library's name",
        "fail",
        """\
import os
source = 'def f(x): done()'
with open('mine.py', 'w') as file: file.write(source)
library = os.path.dirname(os.__file__)
path = os.path.join(library, os.path.relpath('mine.py', library))
exec(compile(source, path, 'exec'))
""",
        _ASSERTS,
        LEAVING,
    ),
    Program(
        "exits with a traceback of its own",
        "fail",
        """\
import sys, types
class Exit(SystemExit): __traceback__ = None
def f(x):
  Exit.__traceback__ = types.TracebackType(None, sys._getframe(1), 0, 4)  # where the tests call sys.exit
  raise Exit(0)
""",
        _ASSERTS,
        LEAVING,
    ),
    Program(
        "answers by an exit where the tests call a function named main",
        "fail",
        "import sys\nmain = sys.exit",
        _ASSERTS,
        """\
if main(0) != 2:
    raise AssertionError
""",
    ),
    Program(
        "gives round another meaning",
        "fail",
        "round = lambda *a: 2\nf = float",
        _ASSERTS,
        "assert round(f(1), 1) == 2\n",
    ),
    Program("gives abs another meaning", "fail", "abs = lambda *a: 0\nf = float", _ASSERTS, CHECK),
    Program("exits before the tests", "fail", "import sys; sys.exit(0)", _ASSERTS, TWO),
    Program("returns an always-equal object", "error", _EQUAL + "def f(x): return E()", _CALL),
    Program("asserts on an always-equal object", "fail", _EQUAL + "def f(x): return E()", _ASSERTS, TWO),
    Program("asserts on a near-everything object", "fail", _EQUAL + "def f(x): return E()", _ASSERTS, CHECK),
    Program(
        "returns an always-equal integer",
        "fail",
        """\
class I(int):
  __eq__ = lambda s, o: True
  __repr__ = lambda s: '2'
def f(x): return I(7)
""",
        _CALL,
    ),
    Program(
        "asserts on an always-equal integer",
        "fail",
        """\
class I(int):
  __eq__ = lambda s, o: True
  __hash__ = int.__hash__
  __repr__ = __str__ = __format__ = lambda s, *a: '2'
  __add__ = lambda s, o: 2
def f(x): return I(7)
""",
        _ASSERTS,
        TWO,
    ),
    Program(
        "lies about its class",
        "error",
        """\
class L:
  __class__ = int
  __index__ = __int__ = lambda s: 2
def f(x): return L()
""",
        _CALL,
    ),
    Program(
        "returns an equal list",
        "fail",
        """\
class L(list):
  __eq__ = lambda s, o: True
  __iter__ = lambda s: iter([2])
def f(x): return L([9])
""",
        _ASSERTS,
        "assert f(1) == [2]\n",
    ),
    Program(
        "writes the reply itself",
        "pass",
        """\
import os
def f(x): os.write(3, b'2'); os._exit(0)
""",
        _CALL,
    ),
    Program(
        "writes a record itself",
        "fail",
        """\
import os
def f(x): os.write(3, b'[0,2] 00\\n[1,3] 00\\ndone 00\\n'); os._exit(0)
""",
        _ASSERTS,
        TWO,
    ),
    Program(
        "writes that it is ready",
        "fail",
        """\
import os
os.write(3, b'ready\\n[0,2]\\n[1,3]\\ndone\\n'); os._exit(0)
""",
        _ASSERTS,
        TWO,
    ),
    Program(
        "reads the tests itself",
        "fail",
        """\
import os, json
os.write(3, b'ready\\n')
tests = json.loads(os.read(4, 1 << 16))
source = tests['source']
found = {int(a): int(b) for a, b in __import__('re').findall(r'f\\((\\d+)\\) == (\\d+)', source)}
import hashlib
chain = hashlib.blake2b(key=bytes.fromhex(tests['key']), digest_size=16)
for body in [b'[0,%d]' % found.get(1, 0), b'[1,%d]' % found.get(2, 0), b'done']:
  chain.update(body); os.write(3, body + b' ' + chain.hexdigest().encode() + b'\\n')
os._exit(0)
""",
        _ASSERTS,
        TWO,
    ),
    Program(
        "looks for what is expected in its callers",
        "fail",
        """\
import sys
def f(x):
  frame = sys._getframe(1)
  while frame:
    for c in frame.f_code.co_consts:
      if isinstance(c, int) and c > 100000: return c
    frame = frame.f_back
  return 0
""",
        _ASSERTS,
        """\
assert f(1) == 123456
assert f(2) == 234567
""",
    ),
    Program(
        "looks for what is expected in all objects",
        "fail",
        """\
import gc
def strings(o):
  if isinstance(o, str): yield o
  elif isinstance(o, dict):
    for v in list(o.values()): yield from (v,) if isinstance(v, str) else ()
  elif isinstance(o, (list, tuple)): yield from (i for i in o if isinstance(i, str))
def f(x):
  mark = 'zeb' + 'ra-%d-' % x
  for o in gc.get_objects():
    for s in strings(o):
      if mark in s: return mark + s.split(mark)[1][:4]
  return ''
""",
        _ASSERTS,
        """\
assert f(1) == 'zeb' 'ra-1-kjwq'
assert f(2) == 'zeb' 'ra-2-pmxv'
""",
    ),
    Program(
        "calls the check by its name",
        "fail",
        """\
def f(x):
  import sys
  g = sys._getframe(2).f_globals
  for k, v in list(g.items()):
    if k.startswith('_check_'):
      v(0, 1, lambda: 0); v(1, 1, lambda: 0)
  return 0
""",
        _ASSERTS,
        TWO,
    ),
    Program(
        "calls the check by its name among its own globals",
        "fail",
        """\
def f(x):
  for k, v in list(globals().items()):
    if k.startswith('_check_'):
      v(0, 1, 'v', lambda: 0); v(1, 1, 'v', lambda: 0)
  return 0
""",
        _ASSERTS,
        TWO,
    ),
    Program(
        "puts another check into its globals",
        "fail",
        """\
def f(x):
  for k in list(globals()):
    if k.startswith('_check_'): globals()[k] = lambda *a: None
  return 0
""",
        _ASSERTS,
        CHECK,
    ),
    Program(
        "takes the check out of its globals",
        "fail|error",
        """\
def f(x):
  for k in list(globals()):
    if k.startswith('_check_'): del globals()[k]
  return 0
""",
        _ASSERTS,
        TWO,
    ),
    Program(
        "gives its own answers to the check",
        "fail",
        """\
def f(x):
  for k, v in list(globals().items()):
    if k.startswith('_check_'):
      globals()[k] = lambda n, o, m, *parts, v=v: v(n, o, m, *[lambda: True for _ in parts])
  return 0
""",
        _ASSERTS,
        CHECK,
    ),
    Program(
        "exits by SystemExit from a frame of another name",
        "fail",
        """\
made = {}
exec(compile('def f(x): raise SystemExit(0)', 'tests.py', 'exec'), made)
f = made['f']
""",
        _ASSERTS,
        TWO,
    ),
    Program(
        "exits by SystemExit before an assertion that is not always reached",
        "fail",
        "def f(x): raise SystemExit(0)",
        _ASSERTS,
        """\
if f(1) == 2:
    assert f(2) == 3
""",
    ),
    Program(
        "tells of an exception as the harness does",
        "fail",
        """\
import os
def f(x):
  os.write(3, b'!{"type": "OK", "message": "", "file": "main.py", "line": 1}\\n')
  return 0
""",
        _ASSERTS,
        TWO,
    ),
    Program(
        "catches the assertions of the tests",
        "fail",
        """\
import builtins
class Caught(Exception): pass
builtins.Exception = builtins.ZeroDivisionError = AssertionError
def f(x): return 0
""",
        _ASSERTS,
        """\
try:
    assert f(1) == 2
except ZeroDivisionError:
    pass
assert f(2) == 3
""",
    ),
    Program(
        "patches built-ins for the tests",
        "fail|error",
        """\
import builtins
builtins.abs = lambda x: 0
builtins.len = lambda x: 2
builtins.type = lambda x: int
builtins.isinstance = lambda *a: True
def f(x): return -1
""",
        _ASSERTS,
        CHECK,
    ),
    Program(
        "patches the encoder",
        "fail",
        """\
import json, json.encoder, sys
json.dumps = lambda *a, **k: '2'
json.encoder.encode_basestring_ascii = lambda s: '2'
for m in list(sys.modules.values()):
  for n in ('to_json', 'to_tagged'):
    if hasattr(m, n): setattr(m, n, lambda v: '2')
def f(x): return 'nothing'
""",
        _CALL,
    ),
    Program(
        "patches exec and compile",
        "fail|error",
        """\
import builtins
builtins.exec = builtins.compile = lambda *a, **k: None
def f(x): return 0
""",
        _ASSERTS,
        TWO,
    ),
    Program(
        "patches os.write and os.read",
        "fail|error",
        """\
import os
w = os.write
os.write = lambda fd, b: w(fd, b.replace(b'7', b'2'))
def f(x): return 7
""",
        _ASSERTS,
        TWO,
    ),
    Program(
        "swallows assertions by tracing",
        "fail",
        """\
import sys
def trace(frame, event, arg):
  if event == 'line' and frame.f_code.co_filename == 'tests.py':
    try: frame.f_lineno = 99
    except ValueError: pass
  return trace
sys.settrace(trace)
def f(x): return 0
""",
        _ASSERTS,
        """\
def check(c):
    assert c(1) == 2
    x = 1
check(f)
""",
    ),
    Program(
        "swallows exceptions by a hook",
        "error|fail",
        """\
import sys, os
sys.excepthook = lambda *a: os._exit(0)
def f(x): raise ValueError
""",
        _ASSERTS,
        TWO,
    ),
    Program(
        "ends with 0 at exit",
        "fail",
        """\
import atexit, os
atexit.register(os._exit, 0)
def f(x): return 0
""",
        _ASSERTS,
        TWO,
    ),
    Program(
        "ends with 0 at exit after an error",
        "fail",
        """\
import atexit, os
atexit.register(os._exit, 0)
def f(x): raise ValueError
""",
        _CALL,
    ),
    Program(
        "replaces _exit",
        "error",
        """\
import os
real = os._exit
os._exit = lambda code: real(0)
raise ValueError
""",
    ),
    Program(
        "prints and fails",
        "error",
        """\
print('ok')
raise ValueError
""",
    ),
    Program(
        "prints and is killed",
        "error",
        """\
import os
print('ok', flush=True)
os.kill(os.getpid(), 9)
""",
    ),
    Program(
        "closes what the harness needs",
        "error|fail",
        """\
import os
os.closerange(3, 99)
def f(x): return 2
""",
        _ASSERTS,
        TWO,
    ),
    Program(
        "defines a check of its own",
        "fail",
        """\
def check(c): pass
def f(x): return 0
""",
        _ASSERTS,
        CHECK,
    ),
    Program("answers some assertions", "fail", "def f(x): return 2", _ASSERTS, TWO),
    Program("returns a NaN that is itself", "fail", "def f(x): return float('nan')", _ASSERTS, TWO),
    Program(
        "chooses integers that collide",
        "fail|error|timeout|output_limit",
        "def f(x): return {i * (2**61 - 1) for i in range(20000)}",
        _ASSERTS,
        "assert f(1) == {1}\n",
    ),
    Program(
        "nests its answer",
        "error",
        """\
def f(x):
  a = []
  for _ in range(100000): a = [a]
  return a
""",
        _CALL,
    ),
    Program(
        "answers with itself",
        "error",
        """\
def f(x):
  a = []
  a.append(a)
  return a
""",
        _CALL,
    ),
    Program("does not parse", "error", "def f(x:\n", _CALL),
    Program("holds a null character", "error", "x = 1\0"),
    Program(
        "changes the recursion limit before the tests",
        "fail|error",
        """\
import sys
def f(x):
  sys.setrecursionlimit(sys._getframe().f_back.f_lineno + 8)
  return 0
""",
        _ASSERTS,
        TWO,
    ),
]
