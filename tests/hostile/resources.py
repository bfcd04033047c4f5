"""Programs that take more than they may."""

from tests.hostile.program import Kind, Program

_NO_FORK = {"plain B": "error"}

RESOURCES = [
    Program("loops", "timeout", "while True: pass"),
    Program("loops in C", "timeout", "sum(iter(int, 1))"),
    Program("loops in one C call", "timeout", "x = 10 ** 10 ** 8"),
    Program("matches a pattern for ever", "timeout", "import re; re.match('(a*)*b', 'a' * 60)"),
    Program("sleeps", "timeout", "import time; time.sleep(60)"),
    Program(
        "waits for input that has ended, again and again",
        "timeout",
        """\
while True:
  input_ = open(0, closefd=False).read()
""",
    ),
    Program("waits for a lock", "timeout", "import threading; l = threading.Lock(); l.acquire(); l.acquire()"),
    Program(
        "leaves a thread that never ends",
        "timeout",
        """\
import threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
print('ok')
""",
    ),
    Program(
        "ignores every signal",
        "timeout",
        """\
import signal
for n in range(1, 65):
  try: signal.signal(n, signal.SIG_IGN)
  except (OSError, ValueError): pass
while True: pass
""",
    ),
    Program(
        "catches everything and goes on",
        "timeout",
        """\
while True:
  try:
    while True: pass
  except BaseException: pass
""",
    ),
    Program(
        "raises its limit of time",
        "timeout",
        """\
import resource
try: resource.setrlimit(resource.RLIMIT_CPU, (99, 99))
except (OSError, ValueError): pass
while True: pass
""",
    ),
    Program("stops itself", "timeout", "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"),
    Program("takes memory at once", "memory", "x = bytearray(1 << 40)"),
    Program(
        "takes memory by and by",
        "memory|timeout",
        """\
x = []
while True: x.append(bytearray(1 << 20))
""",
    ),
    Program(
        "takes memory in small objects",
        "memory|timeout",
        """\
x = []
while True: x.append([x] * 1000)
""",
    ),
    Program(
        "takes memory and swallows the error",
        "memory|timeout",
        """\
x = []
while True:
  try: x.append(bytearray(1 << 22))
  except MemoryError: pass
""",
    ),
    Program(
        "takes memory through many processes",
        "memory|timeout",
        """\
import os, time
for _ in range(8):
  if os.fork() == 0: break
x = bytearray(b'x') * (40 << 20)
time.sleep(60)
""",
        elsewhere=_NO_FORK,
    ),
    Program(
        "takes memory under a name that is no text",
        "memory|timeout",
        """\
import ctypes, time
ctypes.CDLL(None).prctl(15, b'\\xff\\rRssAnon:1 kB', 0, 0, 0)
x = bytearray(b'x') * (200 << 20)
time.sleep(0.3); print('ok')
""",
    ),
    Program(
        "takes memory once its first thread has ended",
        "memory|timeout",
        """\
import ctypes, os, platform, threading, time
libc = ctypes.CDLL(None)
def take():
  time.sleep(0.05)
  x = bytearray(b'x') * (200 << 20)
  time.sleep(0.3); os.write(1, b'ok'); os._exit(0)
threading.Thread(target=take).start()
libc.syscall(60 if platform.machine() == 'x86_64' else 93, 0)
""",
    ),
    Program(
        "takes memory in processes whose first threads have ended",
        "memory|timeout",
        """\
import ctypes, os, platform, threading, time
libc = ctypes.CDLL(None)
def take():
  time.sleep(0.05)
  x = bytearray(b'x') * (60 << 20)
  time.sleep(0.3); os.write(1, b'ok'); os._exit(0)
for i in range(4):
  if os.fork() == 0:
    threading.Thread(target=take).start()
    libc.syscall(60 if platform.machine() == 'x86_64' else 93, 0)
os.wait()
""",
        elsewhere=_NO_FORK,
    ),
    Program(
        "takes shared memory",
        "memory|timeout",
        """\
import mmap, time
m = mmap.mmap(-1, 400 << 20)
for i in range(400): m.write(bytes(1 << 20))
time.sleep(60)
""",
    ),
    Program(
        "nests until the stack ends",
        "error|memory|timeout",
        """\
import sys; sys.setrecursionlimit(10**9)
class A:
  def __repr__(s): return repr(s)
repr(A())
""",
    ),
    Program("floods output", "output_limit", "while True: print('x' * 10000)"),
    Program(
        "floods the error stream",
        "output_limit",
        """\
import os
while True: os.write(2, b'x' * 10000)
""",
    ),
    Program(
        "floods the reply",
        "output_limit",
        """\
import os
while True: os.write(3, b'x' * 10000)
""",
        Kind.call,
    ),
    Program("returns too much", "output_limit", "def f(x): return 'x' * (3 << 20)", Kind.call),
    Program(
        "floods from a process of its own",
        "output_limit",
        """\
import os
os.fork()
while True: os.write(1, b'x' * 10000)
""",
        elsewhere=_NO_FORK,
    ),
    Program(
        "fills one file",
        "error",
        """\
f = open('big', 'wb')
while True: f.write(b'x' * 100000)
""",
    ),
    Program(
        "fills many files",
        "error|output_limit|timeout",
        """\
i = 0
while True:
  i += 1
  open(str(i), 'wb').write(b'x' * (1 << 19))
""",
    ),
    Program(
        "makes files without end",
        "error|output_limit|timeout",
        """\
i = 0
while True:
  i += 1
  open(str(i), 'wb').close()
""",
    ),
    Program(
        "forks without end",
        "timeout|error",
        """\
import os
while True:
  try: os.fork()
  except OSError: pass
""",
    ),
    Program(
        "forks and waits",
        "error",
        """\
import os, time
while True:
  if os.fork() == 0: time.sleep(60)
""",
    ),
    Program(
        "starts threads without end",
        "error",
        """\
import threading, time
threading.stack_size(65536)
while True: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
""",
        elsewhere={"plain B": "error|memory"},
    ),
    Program(
        "opens files without end",
        "error",
        """\
x = []
while True: x.append(open('/dev/null'))
""",
    ),
    Program(
        "opens pipes without end",
        "error",
        """\
import os
while True: os.pipe()
""",
    ),
]
"""Limits of the run: `tests.hostile.run.LIMITS`."""
