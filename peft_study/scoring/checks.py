"""Runs the input/output checks of an answer. The sandbox receives this file as text, so it imports nothing else.

An answer is an expression or a few statements. `data.samples.Check` describes a check.
"""

from typing import Any


def run_checks(answer: str, checks: list[list[str]]) -> list[str]:
    """Run an answer once per check.

    Args:
        answer: the candidate.
        checks: pairs of setup and probe.

    Returns:
        the value of each probe, in the form of `text_of`.
    """
    values = []
    for setup, probe in checks:
        names: dict[str, Any] = {}
        exec(setup, names)  # noqa: S102 - runs inside the sandbox
        try:
            expression = compile(answer.strip(), "<answer>", "eval")
        except SyntaxError:
            exec(compile(answer, "<answer>", "exec"), names)  # noqa: S102
        else:
            names["_"] = eval(expression, names)  # noqa: S307
        values.append(text_of(eval(probe, names)))  # noqa: S307
    return values


def text_of(value: Any) -> str:
    """Write a value of built-in types as text. Equal values of equal types give equal text, for any order of a set."""
    kind = type(value)
    if kind in (list, tuple):
        return f"{kind.__name__}({', '.join([text_of(item) for item in value])})"
    if kind in (set, frozenset):
        return f"{kind.__name__}({', '.join(sorted([text_of(item) for item in value]))})"
    if kind is dict:
        return f"dict({', '.join(sorted([f'{text_of(key)}: {text_of(item)}' for key, item in value.items()]))})"
    return repr(value)
