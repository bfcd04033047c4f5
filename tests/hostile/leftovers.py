"""Programs that try to last: each leaves something, and the one behind it looks for it."""

from tests.hostile.program import Program

_NO_FORK = {"plain B": "error"}
_DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in range(6): os.close(fd) if fd > 2 else None
        while True:
            time.sleep(0.01)
            open('alive', 'w').write('x')
    os._exit(0)
time.sleep(0.05)
print('ok')
"""

LEFTOVERS = [
    Program("leaves a daemon", "pass", _DAEMON.replace("os.close(fd) if fd > 2 else None", "None"), elsewhere=_NO_FORK),
    Program("leaves a file", "pass", "open('left', 'w').write('x'); print('ok')"),
    Program(
        "leaves a folder that nobody may open",
        "pass",
        """\
import os
os.makedirs('a/b'); open('a/b/c', 'w').close()
try: os.chmod('a/b', 0); os.chmod('a', 0)
except OSError: os.mkdir('d', 0)
print('ok')
""",
    ),
    Program(
        "leaves a very deep folder",
        "pass|timeout|output_limit",
        """\
import os
for _ in range(1500):
  os.mkdir('d' * 200); os.chdir('d' * 200)
print('ok')
""",
    ),
    Program(
        "leaves a link to outside", "pass", "import os; os.symlink('/etc', 'etc'); os.symlink('/', 'root'); print('ok')"
    ),
    Program(
        "leaves a file in shared memory",
        "pass",
        """\
try: open('/dev/shm/left', 'w').close()
except OSError: pass
print('ok')
""",
    ),
    Program(
        "kills all it can",
        "pass",
        """\
import os
try: os.kill(-1, 9)
except OSError: pass
print('ok')
""",
    ),
    Program(
        "signals what forked it in every way",
        "pass",
        """\
import os
for pid in (1, os.getppid()):
  for n in range(1, 65):
    try: os.kill(pid, n)
    except OSError: pass
print('ok')
""",
    ),
    Program(
        "leaves one that stops whoever comes to end it",
        "pass|timeout",
        """\
import os
print('ok', flush=True)
if os.fork() == 0:
  try:
    while True: os.kill(-1, 19)
  finally: os._exit(0)
""",
        elsewhere=_NO_FORK,
    ),
    Program(
        "leaves folders with names that a cleaner might give",
        "pass",
        """\
import os
for i in range(1, 30):
  os.makedirs(f'.{os.getppid()}-{i}/x')
os.makedirs('a/b/c')
print('ok')
""",
    ),
    Program("kills its group", "error", "import os; os.kill(0, 9)"),
    Program("ends itself by a signal", "error", "import os; os.kill(os.getpid(), 11)"),
    Program(
        "changes the work folder",
        "pass",
        """\
import os
try: os.chmod('.', 0)
except OSError: pass
print('ok')
""",
    ),
    Program(
        "patches what the next would import",
        "pass",
        "import json, random, builtins; json.loads = None; builtins.print('ok')",
    ),
]
LOOKING = [
    Program("finds an empty folder", "pass", "import os; print('ok' if os.listdir('.') == [] else 'escaped')"),
    Program(
        "finds no other process",
        "pass",
        """\
import os
try: os.kill(-1, 0)
except OSError: print('ok')
else: print('ok')
""",
    ),
    Program("finds the library as it was", "pass", "import json; print(json.loads('\"ok\"'))"),
    Program(
        "finds shared memory empty",
        "pass",
        """\
import os
try: found = os.listdir('/dev/shm')
except OSError: found = []
print('ok' if not found else 'escaped')
""",
    ),
]
