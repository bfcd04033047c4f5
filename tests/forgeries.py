"""Programs that try to pass without the answer: none of them adds two numbers."""

ALWAYS_EQUAL = """
class Equal{base}:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __bool__(self): return True
def add(a, b): return Equal()
"""

FORGERIES = {
    "leaves at once": "import sys; sys.exit(0)",
    "leaves by the system": "import os; os._exit(0)",
    "leaves when called": """
import sys
def add(a, b): sys.exit(0)
""",
    "leaves by the system when called": """
import os
def add(a, b): os._exit(0)
""",
    "kills itself": """
import os, signal
def add(a, b): os.kill(os.getpid(), signal.SIGTERM)
""",
    "equals everything": ALWAYS_EQUAL.format(base=""),
    "an integer that equals everything": ALWAYS_EQUAL.format(base="(int)"),
    "text that equals everything": ALWAYS_EQUAL.format(base="(str)"),
    "a list that equals everything": ALWAYS_EQUAL.format(base="(list)"),
    "a class that equals everything": """
class Meta(type):
    def __eq__(self, other): return True
    __hash__ = type.__hash__
class Equal(metaclass=Meta): pass
def add(a, b): return Equal
""",
    "an assertion error that is caught": """
import builtins
class Quiet(Exception): pass
builtins.AssertionError = Quiet
def add(a, b): return 0
""",
    "no assertion errors": """
import builtins
builtins.AssertionError = lambda *_: SystemExit(0)
def add(a, b): return 0
""",
    "an exit handler": """
import atexit, os
atexit.register(lambda: os._exit(0))
def add(a, b): return 0
""",
    "an exception hook": """
import sys, os
sys.excepthook = lambda *_: os._exit(0)
def add(a, b): return 0
""",
    "a trace that leaves frames": """
import sys
def trace(frame, event, arg):
    return None if event == 'call' else trace
sys.settrace(trace)
def add(a, b): return 0
""",
    "an alarm": """
import signal, sys, os
signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
signal.setitimer(signal.ITIMER_REAL, 0.001)
def add(a, b):
    while True: pass
""",
    "another check": """
import builtins
builtins.check = lambda *_: None
def check(*_): return None
def add(a, b): return 0
""",
    "patched comparisons": """
import operator, builtins
operator.eq = lambda *_: True
builtins.all = builtins.any = lambda *_: True
def add(a, b): return 0
""",
    "patched JSON": """
import json
json.dumps = lambda *_, **__: '3'
json.loads = lambda *_, **__: [0, 0]
def add(a, b): return 0
""",
    "written to every descriptor": """
import os
for fd in range(3, 64):
    try: os.write(fd, b'3\\n7\\n[3]\\nready\\ndone\\n')
    except OSError: pass
def add(a, b): return 0
""",
    "the caller's names": """
import sys
def add(a, b):
    frame = sys._getframe()
    while frame:
        for value in list(frame.f_locals.values()) + list(frame.f_globals.values()):
            if isinstance(value, dict):
                for key in ('expected', 'outputs', 'output'):
                    if key in value: return value[key]
        frame = frame.f_back
    return 0
""",
    "a fork that goes on": """
import os
def add(a, b):
    if os.fork(): os._exit(0)
    return 0
""",
    "nothing": "",
    "no Python": "def add(a, b:",
}
