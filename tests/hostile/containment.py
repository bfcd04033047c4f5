"""Programs that try to see, change or reach what is outside; each prints "ok" where it could not."""

from tests.hostile.program import Program, call_refused, refused

_TARGET = "import json; aim = json.load(sys.stdin)"

CONTAINMENT = [
    refused("reads the password file", "open('/etc/passwd').read()"),
    refused("reads shadow", "open('/etc/shadow').read()"),
    refused("lists the root's home", "os.listdir('/root') and open('/root/.bashrc').read()"),
    refused("reads a file of the caller", "open(aim['secret']).read()", _TARGET),
    refused("writes a file of the caller", "open(aim['secret'], 'a').write('x')", _TARGET),
    refused("makes a file beside it", "open(aim['secret'] + '.new', 'w').close()", _TARGET),
    refused("changes its rights", "os.chmod(aim['secret'], 0)", _TARGET),
    refused("changes its times", "os.utime(aim['secret'], (0, 0))", _TARGET),
    refused("cuts it", "os.truncate(aim['secret'], 0)", _TARGET),
    refused("removes it", "os.remove(aim['secret'])", _TARGET),
    refused(
        "links to it and reads",
        """\
os.symlink(aim['secret'], 'link')
open('link').read()
""",
        _TARGET,
    ),
    refused("links to it hard", "os.link(aim['secret'], 'link')", _TARGET),
    refused("reads the project", "open(aim['project']).read()", _TARGET),
    refused("changes the rights of the standard library", "os.fchmod(os.open(os.__file__, os.O_RDONLY), 0o666)"),
    refused(
        "changes the rights of the interpreter",
        "os.fchmod(os.open(os.path.realpath(sys.executable), os.O_RDONLY), 0o6755)",
    ),
    refused("sets the times of a file that anybody may write", "os.utime(aim['secret'])", _TARGET),
    refused("goes up from its folder", "open('../' * 30 + 'etc/hostname').read()"),
    refused("changes the standard library", "open(os.__file__, 'a').write('x')"),
    refused("adds to the standard library", "open(os.path.dirname(os.__file__) + '/evil.py', 'w').write('x')"),
    refused("reads its own memory as a file", "open('/proc/self/mem', 'r+b').read(1)"),
    refused("reads its parent's environment", "open(f'/proc/{os.getppid()}/environ').read()"),
    refused("sees a process of the caller", "open(f\"/proc/{aim['pid']}/status\").read()", _TARGET),
    refused("opens a disk", "open('/dev/vda', 'rb').read(1)"),
    refused("opens the terminal", "open('/dev/tty', 'wb')"),
    refused("changes the root", "os.chroot('.')"),
    refused("makes a device", "os.mknod('null', 0o20666, os.makedev(1, 3))"),
    refused("becomes root", "os.setuid(0)"),
    refused(
        "changes a file's owner",
        """\
open('x', 'w').close()
os.chown('x', 0, 0)
""",
    ),
    refused("runs a shell", "os.execv('/bin/sh', ['sh', '-c', 'echo escaped'])"),
    refused("connects to a port of this machine", "socket.create_connection(('127.0.0.1', aim['port']), 1)", _TARGET),
    refused("opens a raw socket", "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)"),
    refused("opens a packet socket", "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)"),
    refused("opens a netlink socket", "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)"),
    refused("sends a datagram", "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))"),
    refused("listens", "socket.create_server(('127.0.0.1', 0))"),
    refused(
        "connects to an abstract socket", "socket.socket(socket.AF_UNIX).connect('\\0' + aim['abstract'])", _TARGET
    ),
    refused(
        "sends to an abstract socket from a pair",
        """\
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
a.sendto(b'x', '\\0' + aim['abstract'])
""",
        _TARGET,
    ),
    refused("signals the caller", "os.kill(aim['pid'], 0)", _TARGET),
    refused(
        "kills the process that forked it", "os.kill(os.getppid(), 9) if os.getppid() > 1 else os.kill(0x7ffffff, 9)"
    ),
    refused(
        "limits the process that forked it",
        """\
import resource
resource.prlimit(os.getppid() or 1, resource.RLIMIT_CPU, (1, 1))
""",
    ),
    refused(
        "has a file's signals sent to another",
        """\
import fcntl
fcntl.fcntl(0, 8, os.getppid() or 1)
""",
    ),
    refused("leaves its share of the machine", "os.nice(-5)"),
    Program(
        "has nothing in its environment",
        "pass",
        """\
import os, ctypes
environ = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), 'environ')
print('ok' if not os.environ and (not environ or not environ[0]) else 'escaped')
""",
    ),
    Program(
        "has no descriptor but its own",
        "pass",
        """\
import os, stat
left = []
for fd in range(3, 4096):
  try: mode = os.fstat(fd).st_mode
  except OSError: continue
  left.append((fd, stat.S_ISDIR(mode)))
escaped = []
for fd, folder in left:
  if not folder: escaped.append(fd)
  else:
    try: os.listdir(f'/proc/self/fd/{fd}/../..'); escaped.append(fd)
    except OSError: pass
print('ok' if not escaped else f'escaped {escaped}')
""",
    ),
    Program(
        "has no third-party package",
        "pass",
        """\
import sys
for name in ('numpy', 'pip', 'torch', 'peft_study'):
  try: __import__(name)
  except ImportError: continue
  print('escaped', name)
print('ok')
""",
    ),
    Program(
        "finds no third-party package by path",
        "pass",
        """\
import os, sys
sys.path.append(os.path.dirname(os.__file__) + '/site-packages')
try: import pip
except (ImportError, OSError): print('ok')
else: print('escaped')
""",
    ),
    Program(
        "has no capability",
        "pass",
        """\
import ctypes
head = (ctypes.c_uint32 * 2)(0x20080522, 0)
data = (ctypes.c_uint32 * 6)()
ctypes.CDLL(None).capget(head, data)
print('ok' if not any(data[i] for i in (0, 1, 3, 4)) else 'escaped')
""",
    ),
    call_refused("traces a process", 101, 16, 1, 0, 0),
    call_refused("asks to be traced", 101, 0, 0, 0, 0),
    call_refused("reads another's memory", 310, 1, 0, 0, 0, 0, 0),
    call_refused("writes another's memory", 311, 1, 0, 0, 0, 0, 0),
    call_refused("sets up io_uring", 425, 8, 0),
    call_refused("handles page faults", 323, 1),
    call_refused("loads a kernel program", 321, 0, 0, 0),
    call_refused("asks for a key", 250, 0, -3, 1),
    call_refused("adds a key", 248, 0, 0, 0, 0, -3),
    call_refused("opens performance counters", 298, 0, 0, -1, -1, 0),
    call_refused("mounts", 165, 0, 0, 0, 0, 0),
    call_refused("leaves its namespaces", 272, 0x10000000),
    call_refused("joins a namespace", 308, 0, 0),
    call_refused("clones into a namespace", 56, 0x10000011, 0, 0, 0, 0),
    call_refused("makes shared memory", 29, 0, 4096, 0o1600),
    call_refused("makes a semaphore", 64, 0, 1, 0o1600),
    call_refused("makes a message queue", 68, 0, 0o1600),
    call_refused("opens a memory file", 319, 0, 0),
    call_refused("opens another's descriptor", 438, 3, 0, 0),
    call_refused("opens a file by handle", 304, -100, 0, 0),
    call_refused("changes how numbers of calls are read", 135, 0x0400000),
    call_refused("reads the kernel's log", 103, 3, 0, 0),
    Program(
        "calls as 32-bit code numbers them",
        "error",
        """\
import ctypes
ctypes.CDLL(None).syscall(0x40000000 + 39)
print('escaped')
""",
    ),
]
