"""Rules for the examples before a prompt, and the mark of methods with examples in plans, tables and reports."""

from collections.abc import Iterator, Mapping
from typing import Any

from peft_study.config.identity import leakage_counts
from peft_study.config.schema import ExampleChoice, ExampleDraw, ExampleOrder, MethodConfig, MethodKind
from peft_study.errors import UserError

_TITLES = {"random": "random examples", "nearest": "nearest examples"}
_PROMPTING = {"zero-shot": ExampleChoice.none, "icl": ExampleChoice.random, "rag": ExampleChoice.nearest}
"""What the names of prompting methods promise. Tables and reports show the name alone."""


def example_problems(method: MethodConfig) -> Iterator[UserError]:
    """Every broken rule about a method's examples."""
    choice = method.examples
    if method.num_examples < 0 or (method.num_examples > 0) != (choice is not ExampleChoice.none):
        yield UserError(
            f"method.num_examples must be 0 without examples and positive with them, got {method.num_examples} and"
            f" method.examples={choice}",
            where="method.examples, method.num_examples",
            hint="method=zero-shot for none; method=icl method.num_examples=8, or method=rag"
            if method.kind is MethodKind.prompting
            else "method.examples=random method.num_examples=2, or method.examples=none method.num_examples=0",
        )
    if choice is not _PROMPTING.get(method.name, choice):
        yield UserError(
            f"method.examples must be {_PROMPTING[method.name]} for method={method.name}, got {choice}",
            where="method.examples",
            hint="method=icl for random examples, method=rag for the nearest, method=zero-shot for none",
        )
    if choice is ExampleChoice.nearest and not method.retriever:
        got = "null" if method.retriever is None else "an empty text"
        yield UserError(
            f"method.retriever must be set to find the nearest examples, got {got}",
            where="method.retriever",
            hint="method.retriever=tfidf, bm25, minilm, thenlper/gte-small, or a local folder",
        )
    # A setting without effect would give one result two names.
    if method.draw is ExampleDraw.sample and choice is not ExampleChoice.random:
        yield UserError(
            f"method.draw must be {ExampleDraw.cell} unless method.examples={ExampleChoice.random}, got {method.draw}"
            f" and method.examples={choice}",
            where="method.draw, method.examples",
            hint=f"method.draw={ExampleDraw.cell}, or method.examples={ExampleChoice.random}",
        )
    if method.order is ExampleOrder.nearest_last and choice is not ExampleChoice.nearest:
        yield UserError(
            f"method.order must be {ExampleOrder.nearest_first} unless method.examples={ExampleChoice.nearest}, got"
            f" {method.order} and method.examples={choice}",
            where="method.order, method.examples",
            hint=f"method.order={ExampleOrder.nearest_first}, or method.examples={ExampleChoice.nearest}",
        )
    if method.train_with_examples and (choice is ExampleChoice.none or method.kind is MethodKind.prompting):
        yield UserError(
            f"method.train_with_examples must be false unless the method trains and has examples, got true for"
            f" {method.name} with method.examples={choice}",
            where="method.train_with_examples, method.examples",
            hint="method.examples=random method.num_examples=2, or method.train_with_examples=false",
        )


def labelled_method(config: Mapping[str, Any]) -> str | None:
    """The name of a method in a cell's config, however old, with the label of its examples in brackets.

    Returns:
        for instance "lora [nearest examples]"; None if the record has no name.
    """
    name, label = _group(config, "method").get("name"), example_label(config)
    if name is None:
        return None
    return f"{name} [{label}]" if label else str(name)


def example_label(config: Mapping[str, Any]) -> str:
    """How a method in a cell's config, however old, has examples, if not in the way of `icl` and `rag`.

    Returns:
        for instance "nearest examples, in training as well" or "draw=sample"; empty for `icl`, `rag` and no examples.
    """
    method = _group(config, "method")
    marks = []
    choice = str(method.get("examples", "none"))
    if method.get("kind") != "prompting" and choice in _TITLES:
        marks.append(_TITLES[choice])
        if method.get("train_with_examples") is True:
            marks.append("in training as well")
    marks += [
        f"{setting}={method[setting]}"
        for setting, default in (("draw", ExampleDraw.cell), ("order", ExampleOrder.nearest_first))
        if method.get(setting, default) != default
    ]
    retriever = _group(config, "model").get("retriever")
    if choice == "nearest" and retriever is not None and method.get("retriever", retriever) != retriever:
        # The last part of a hub id or folder.
        marks.append(f"retriever={str(method['retriever']).rstrip('/').rpartition('/')[2]}")
    leakage = _group(config, "conventions").get("example_leakage")
    differs = leakage is not None and method.get("leakage", leakage) != leakage
    if differs and leakage_counts(method, _group(config, "dataset")):
        marks.append(f"leakage={method['leakage']}")
    return ", ".join(marks)


def _group(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    group = config.get(name)
    return group if isinstance(group, Mapping) else {}
