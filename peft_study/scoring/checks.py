"""Runs an answer's input/output checks. The sandbox gets this file as text, so it imports nothing.

An answer is an expression or a few statements; `data.samples.Check` says what a check holds.
"""

from typing import Any


def run_checks(answer: str, checks: list[list[str]]) -> list[str]:
    """Run an answer once a check.

    Args:
        answer: the candidate.
        checks: setup and probe of each.

    Returns:
        what each probe gives, as `text_of` writes it.
    """
    found = []
    for setup, probe in checks:
        names: dict[str, Any] = {}
        exec(setup, names)  # noqa: S102 - this is what the sandbox is for
        try:
            expression = compile(answer.strip(), "<answer>", "eval")
        except SyntaxError:
            exec(compile(answer, "<answer>", "exec"), names)  # noqa: S102
        else:
            names["_"] = eval(expression, names)  # noqa: S307
        found.append(text_of(eval(probe, names)))  # noqa: S307
    return found


def text_of(value: Any) -> str:
    """A value of builtin types as text: equal for equal values of the same types, whatever the order of a set."""
    kind = type(value)
    if kind in (list, tuple):
        return f"{kind.__name__}({', '.join([text_of(item) for item in value])})"
    if kind in (set, frozenset):
        return f"{kind.__name__}({', '.join(sorted([text_of(item) for item in value]))})"
    if kind is dict:
        return f"dict({', '.join(sorted([f'{text_of(key)}: {text_of(item)}' for key, item in value.items()]))})"
    return repr(value)
