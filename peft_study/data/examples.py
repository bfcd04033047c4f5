"""The training samples before each prompt: the same random ones for all prompts, others for each, or the nearest."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from peft_study.config.schema import ExampleChoice, ExampleDraw, ExampleLeakage, ExampleOrder
from peft_study.data.leakage import normalized
from peft_study.data.nearest import Retriever, nearest
from peft_study.data.samples import Sample


@dataclass(frozen=True, slots=True)
class ExampleRules:
    """Which training samples stand before a prompt.

    Attributes:
        choice: none, random, or nearest by the retriever's similarity of the instructions.
        number: examples for each prompt.
        draw: random examples are drawn once (as in the study's replication package) or for each sample.
        order: of the nearest examples.
        leakage: whether a training sample with the instruction of the prompt may be an example.
    """

    choice: ExampleChoice = ExampleChoice.none
    number: int = 0
    draw: ExampleDraw = ExampleDraw.cell
    order: ExampleOrder = ExampleOrder.nearest_first
    leakage: ExampleLeakage = ExampleLeakage.exclude


@dataclass(frozen=True, slots=True)
class Shown:
    """The examples of one prompt.

    Attributes:
        rows: their indices in the training split, in the order of the prompt.
        similarities: of the nearest examples, in the same order; empty for random ones.
    """

    rows: tuple[int, ...] = ()
    similarities: tuple[float, ...] = ()

    def without_first(self, number: int) -> "Shown":
        """Leave out the first examples, as a model without positions for them does."""
        return Shown(self.rows[number:], self.similarities[number:])


def choose(
    rules: ExampleRules,
    train: Sequence[Sample],
    prompted: Sequence[Sample],
    seed: int,
    retriever: Retriever | None = None,
    *,
    is_train: bool = False,
) -> list[Shown]:
    """Choose the examples of each prompt.

    A choice depends on the rules, the seed, the training split and the prompted sample alone, so that it does not
    change if a cell resumes or reads fewer test samples.

    Args:
        rules: which samples.
        train: the samples to choose from. If they are fewer than `rules.number`, all of them are examples.
        prompted: the samples to prompt with.
        seed: of random examples.
        retriever: compares instructions with those of `train`, for the nearest examples.
        is_train: whether the prompted samples are those of `train`. No sample is an example of itself.

    Returns:
        for each prompted sample its examples.
    """
    if rules.choice is ExampleChoice.none or rules.number == 0:
        return [Shown()] * len(prompted)
    excludes = rules.leakage is ExampleLeakage.exclude
    equal = equal_instructions(train, prompted) if excludes else [frozenset[int]()] * len(prompted)
    barred = [rows | {index} for index, rows in enumerate(equal)] if is_train else equal
    number = min(rules.number, len(train))
    if rules.choice is ExampleChoice.nearest:
        assert retriever is not None, "the nearest examples need a retriever"
        blocks = retriever([sample.instruction for sample in prompted])
        step = -1 if rules.order is ExampleOrder.nearest_last else 1
        neighbours = nearest(blocks, len(prompted), number, [sorted(rows) for rows in barred])
        return [Shown(of_prompt.rows[::step], of_prompt.similarities[::step]) for of_prompt in neighbours]
    # The study's package draws once, with seed 42, and the paper has several seeds.
    if rules.draw is ExampleDraw.cell:
        draw = _Draw(Random(seed), number, len(train))  # noqa: S311 - a reproducible choice, not a secret
        return [Shown(draw.without(rows)) for rows in barred]
    # By the sample's id, and not by its position.
    draws = (_Draw(Random(f"{seed} {sample.id}"), number, len(train)) for sample in prompted)  # noqa: S311
    return [Shown(draw.without(rows)) for draw, rows in zip(draws, barred, strict=True)]


def equal_instructions(train: Sequence[Sample], prompted: Sequence[Sample]) -> list[frozenset[int]]:
    """Find for each prompted sample the indices of training samples with the same instruction.

    Case, white space and Unicode's compatible forms (NFKC) do not count. An empty instruction equals no other.
    """
    rows_by_text: dict[str, set[int]] = {}
    for index, sample in enumerate(train):
        rows_by_text.setdefault(normalized(sample.instruction), set()).add(index)
    rows_by_text.pop("", None)
    return [frozenset(rows_by_text.get(normalized(sample.instruction), ())) for sample in prompted]


def leakage_record(
    rules: ExampleRules, train: Sequence[Sample], prompted: Sequence[Sample], shown: Sequence[Shown]
) -> dict[str, int | str]:
    """Count the test samples whose instruction is also in the training split, for the cell's result.

    Returns:
        "leakage", the rule; "equal_instructions", the prompts with such a training sample; and "equal_shown", the
        prompts that show one.
    """
    equal = equal_instructions(train, prompted)
    return {
        "leakage": str(rules.leakage),
        "equal_instructions": sum(bool(rows) for rows in equal),
        "equal_shown": sum(bool(rows & set(of_prompt.rows)) for rows, of_prompt in zip(equal, shown, strict=True)),
    }


class _Draw:
    """Random rows, with others in reserve for those that a prompt must not show."""

    def __init__(self, random: Random, number: int, rows: int) -> None:
        self._random = random
        self._rows = rows
        self._drawn = random.sample(range(rows), number)

    @cached_property
    def _reserve(self) -> list[int]:
        drawn = set(self._drawn)
        rows = [row for row in range(self._rows) if row not in drawn]
        self._random.shuffle(rows)
        return rows

    def without(self, barred: frozenset[int]) -> tuple[int, ...]:
        """The drawn rows, each barred one replaced by a row in reserve as far as there are any."""
        # A prompt without a barred row shows the same examples as under the rule that allows all rows.
        if not barred.intersection(self._drawn):
            return tuple(self._drawn)
        reserve = (row for row in self._reserve if row not in barred)
        rows = (row if row not in barred else next(reserve, None) for row in self._drawn)
        return tuple(row for row in rows if row is not None)
