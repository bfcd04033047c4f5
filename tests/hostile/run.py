"""Runs every program at one level, as whatever user calls, and prints what became of each as JSON.

Called by `test_sandbox` in a process of its own, so that a root user's tests can run it as a plain one, too:
`python -m tests.hostile.run A`.
"""

import json
import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from peft_study.errors import UserError
from peft_study.sandbox.pool import Job, Level, Limits, Pool
from tests.hostile.containment import CONTAINMENT
from tests.hostile.honest import HONEST
from tests.hostile.leftovers import LEFTOVERS, LOOKING
from tests.hostile.program import Program
from tests.hostile.resources import RESOURCES
from tests.hostile.verdicts import FORGED

LIMITS = Limits(
    cpu_seconds=0.35, wall_seconds=0.6, memory_bytes=100 << 20, output_bytes=1 << 20, file_bytes=8 << 20, processes=16
)
PROGRAMS = [
    *RESOURCES,
    *CONTAINMENT,
    *FORGED,
    *(
        program
        for left in LEFTOVERS
        for program in (left, *(replace(look, name=f"{look.name}, after one that {left.name}") for look in LOOKING))
    ),
    *HONEST,
]


def main() -> None:
    """Run them, and print {"level", "layers", "outcomes": {name: [verdict, detail]}}."""
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.create_server(("127.0.0.1", 0)) as port,
        socket.socket(socket.AF_UNIX) as local,
    ):
        Path(folder).chmod(0o777)
        secret = Path(folder) / "secret"
        secret.write_text("secret")
        secret.chmod(0o666)
        abstract = f"peft-study-suite-{os.getpid()}"
        local.bind("\0" + abstract)
        local.listen()
        aim = {
            "secret": str(secret),
            "project": __file__,
            "port": port.getsockname()[1],
            "abstract": abstract,
            "pid": os.getpid(),
        }
        stdin = json.dumps(aim).encode()
        try:
            pool = Pool(2, LIMITS, level=Level(sys.argv[1]))
        except UserError as refused:
            sys.stdout.write(json.dumps({"level": "C", "denied": str(refused)}))
            return
        with pool:
            outcomes = _outcomes(pool, PROGRAMS, stdin)
            # A busy machine may pause for longer than these limits: what is out of time twice is out of time.
            late = [one for one in PROGRAMS if outcomes[one.name][0] == "timeout" and not one.may_time_out]
            outcomes |= _outcomes(pool, late, stdin)
            reached = {"level": pool.level, "layers": pool.layers, "denied": pool.denied}
        untouched = [(path.name, path.read_text()) for path in Path(folder).iterdir()] == [("secret", "secret")]
    sys.stdout.write(json.dumps({**reached, "outcomes": outcomes, "untouched": untouched}))


def _outcomes(pool: Pool, programs: Sequence[Program], stdin: bytes) -> dict[str, list[str]]:
    """The verdict on each program, and what it rests on."""
    outcomes = {}
    for number, ran in pool.run(_jobs(programs, stdin)):
        detail = f"{ran.seconds:.2f} {ran.exit_code} {ran.detail} {ran.stdout[-200:]!r} {ran.stderr[-400:]!r}"
        outcomes[programs[number].name] = [programs[number].verdict(ran), detail]
    return outcomes


def _jobs(programs: Sequence[Program], stdin: bytes) -> Iterator[tuple[int, Job]]:
    for number, program in enumerate(programs):
        job = program.job()
        yield number, job if program.stdin else replace(job, stdin=stdin)


if __name__ == "__main__":
    main()
