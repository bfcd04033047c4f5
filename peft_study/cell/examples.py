"""Chooses the training samples before a cell's prompts."""

import logging
from collections.abc import Sequence
from typing import Any

import torch

from peft_study.config.schema import CellConfig, ExampleChoice
from peft_study.data.examples import ExampleRules, Shown, choose, leakage_record
from peft_study.data.nearest import Retriever
from peft_study.data.samples import Sample
from peft_study.models.retrieval.retrievers import load_retriever

logger = logging.getLogger(__name__)


class ExampleChooser:
    """Chooses examples by the settings of a cell.

    Args:
        cell: the typed, checked config.
        train: the training split.
        device: where a dense retriever computes.

    Raises:
        UserError: the retriever cannot be loaded.
    """

    def __init__(self, cell: CellConfig, train: Sequence[Sample], device: torch.device) -> None:
        method = cell.method
        self._rules = ExampleRules(method.examples, method.num_examples, method.draw, method.order, method.leakage)
        self._train = train
        self._seed = cell.seed
        self._retriever: Retriever | None = None
        if method.examples is ExampleChoice.nearest:
            assert method.retriever is not None, "config.checks asks for a retriever"
            self._retriever = load_retriever(method.retriever, [sample.instruction for sample in train], device)
        if method.num_examples > len(train):
            logger.warning(
                "method.num_examples should be at most %d, the samples of the training split, got %d",
                len(train),
                method.num_examples,
            )

    def for_prompts(self, samples: Sequence[Sample]) -> list[Shown]:
        """Choose the examples of samples outside of the training split."""
        return choose(self._rules, self._train, samples, self._seed, self._retriever)

    def for_train(self) -> list[Shown]:
        """Choose the examples of each training sample, never the sample itself."""
        return choose(self._rules, self._train, self._train, self._seed, self._retriever, is_train=True)

    def samples(self, shown: Shown) -> tuple[Sample, ...]:
        """Return the examples of a prompt, in its order."""
        return tuple(self._train[row] for row in shown.rows)

    def record(self, prompted: Sequence[Sample], shown: Sequence[Shown]) -> dict[str, Any]:
        """Return the "examples" of the cell's "data"; empty without examples."""
        if self._rules.choice is ExampleChoice.none:
            return {}
        return leakage_record(self._rules, self._train, prompted, shown)
