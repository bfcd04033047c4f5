"""The process that forks the cells of a sweep. It imports the libraries once, which saves each cell some seconds.

The server runs no cell itself and never uses a GPU, so that every cell starts from the same state. The pool sends a
cell as a JSON message with two descriptors, for its output and its events. The server reports when the cell ends.
"""

import faulthandler
import importlib
import json
import os
import random
import select
import signal
import socket
import sys
import traceback
import weakref
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

# By default, torch counts GPUs through CUDA's runtime. That initializes CUDA, which a forked process then cannot use.
os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"

from peft_study.cell.environment import fast_imports, one_process
from peft_study.config.schema import DatasetSource
from peft_study.console.interrupts import end_with_parent
from peft_study.data import minipy
from peft_study.sweep import child
from peft_study.sweep.processes import MAX_MESSAGE_BYTES
from peft_study.tracking.registry import tracker_kinds

_DESCRIPTORS = 2
_MODEL_CLASSES = ("LlamaForCausalLM", "CodeGenForCausalLM", "T5ForConditionalGeneration", "Trainer")
"""Names to look up in the server, because transformers imports the module of a class at its first use."""


def main() -> None:
    """Serve the pool on the socket whose descriptor is the first argument, until the pool closes it."""
    pool = socket.socket(fileno=int(sys.argv[1]))
    end_with_parent(int(sys.argv[2]))
    # The pool decides when cells end, so an interrupt from the terminal must not end the server.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _import_libraries()
    poll = select.poll()
    poll.register(pool, select.POLLIN)
    running: dict[int, int] = {}
    while True:
        for fd, _ in poll.poll():
            if fd in running:
                poll.unregister(fd)
                os.close(fd)
                _report(pool, running.pop(fd))
                continue
            message, descriptors, _, _ = socket.recv_fds(pool, MAX_MESSAGE_BYTES, _DESCRIPTORS)
            if not message:
                return
            description = json.loads(message)
            _generate_data(description["config"]["dataset"])
            process = _fork(description, descriptors, [pool.fileno(), *running])
            ended = os.pidfd_open(process)
            running[ended] = process
            poll.register(ended, select.POLLIN)
            pool.send(json.dumps({"started": process}).encode())


def _import_libraries() -> None:
    # 5 s of CPU time, once a sweep instead of once a cell (docs/performance-log.md). The collector does not touch
    # frozen objects, so the forked cells share their memory pages.
    with one_process(), fast_imports():
        import transformers

        for module in (
            "cell.run",
            "cell.logs",
            "results.limits",
            "tracking.console",
            "tracking.wandb",
        ):
            importlib.import_module(f"peft_study.{module}")
        for name in _MODEL_CLASSES:
            getattr(transformers, name)
        tracker_kinds()


def _generate_data(dataset: Mapping[str, Any]) -> None:
    """Generate the samples once in the server, because all cells read the same ones."""
    if dataset["path"] is None and dataset["source"] == DatasetSource.generated:
        minipy.generate("train")


def _report(pool: socket.socket, process: int) -> None:
    _, status = os.waitpid(process, 0)
    pool.send(json.dumps({"ended": process, "status": os.waitstatus_to_exitcode(status)}).encode())


def _fork(description: dict[str, Any], descriptors: list[int], foreign: list[int]) -> int:
    """Start a cell and return its process id."""
    parent = os.getpid()
    # Safe as long as no thread of a library runs here: only the thread that forks exists in the child.
    process = os.fork()
    if process == 0:
        _become_cell(description, descriptors, foreign, parent)
    for fd in descriptors:
        os.close(fd)
    return process


def _become_cell(description: dict[str, Any], descriptors: list[int], foreign: list[int], parent: int) -> NoReturn:
    code = 1
    try:
        os.setsid()  # Ctrl-C in the terminal reaches the sweep only
        _skip_finalizers()
        # The pool waits for the socket to close when the server dies, and a copy here would keep it open.
        for fd in foreign:
            os.close(fd)
        output, events = descriptors
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for fd in (1, 2):
            os.dup2(output, fd)
        faulthandler.enable()  # of a crash in native code, this is the only trace
        signal.signal(signal.SIGINT, signal.default_int_handler)
        end_with_parent(parent)
        os.environ.update(description["environment"])
        # A fork copies the state of `random`. Without a new seed, two cells would draw the same names for files.
        random.seed()
        code = child.run(description, events)
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        _leave(code)


def _skip_finalizers() -> None:
    """Exclude the objects of the server from the cell's exit. Those that the cell makes are finalized as usual."""
    # torch's 250 libraries of operators would take 40 ms to deregister. The server deregisters its own.
    finalizers: Iterable[weakref.finalize[..., Any]] = list(weakref.finalize._registry)  # type: ignore[attr-defined]
    for finalizer in finalizers:
        finalizer.atexit = False


def _leave(code: int) -> NoReturn:
    """Exit as an interpreter does, but without tearing down the modules, which is slow for these libraries."""
    import atexit
    import threading

    try:
        # These two private functions join the threads and run the exit handlers, as `Py_FinalizeEx` does.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
