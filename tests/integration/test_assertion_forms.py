"""Verdicts on assertion tests, compared with plain Python: program and tests as one file."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from peft_study.judging.compare import Comparator
from peft_study.judging.judge import judge_all
from peft_study.judging.problems import Problem, problem_of_assertions
from peft_study.sandbox.jobs import Limits
from peft_study.sandbox.pool import Pool
from tests.assertion_forms import FORMS


def in_plain_python(source: str, folder: Path) -> bool:
    folder.mkdir()
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", source],
        cwd=folder,
        capture_output=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    return ended.returncode == 0


def test_verdicts_are_those_of_plain_python(tmp_path: Path) -> None:
    programs = {(name, index): p for name, form in FORMS.items() for index, p in enumerate(form.programs)}
    sources = [f"{program}\n{FORMS[name].tests}\n" for (name, _), program in programs.items()]
    folders = [tmp_path / str(number) for number in range(len(sources))]
    with ThreadPoolExecutor(2) as threads:
        plain = dict(zip(programs, threads.map(in_plain_python, sources, folders), strict=True))
    problems: dict[int | str, Problem] = {}
    for name, form in FORMS.items():
        problem = problem_of_assertions(name, form.tests)
        assert problem is not None
        problems[name] = problem

    with Pool(2, Limits(cpu_seconds=10, wall_seconds=30), accept_level_c=True) as pool:
        judged = judge_all(problems, {name: form.programs for name, form in FORMS.items()}, pool)

    verdicts = {(str(name), one.index): one.passed(Comparator.strict) for name, of in judged.items() for one in of}
    differing = {key: judged[key[0]][key[1]] for key in programs if verdicts[key] != plain[key]}
    assert differing == {}
    # Neither side passes, or fails, everything.
    assert len(FORMS) >= 60
    assert len(FORMS) < sum(plain.values()) < len(programs) - len(FORMS) / 2
