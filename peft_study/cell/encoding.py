"""Turns a cell's data set into token ids, and checks that prompts and answers fit the model's positions."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from peft_study.cell.examples import ExampleChooser
from peft_study.config.schema import CellConfig, Family, Truncation
from peft_study.data import loading, token_counts, tokens
from peft_study.data.examples import Shown
from peft_study.data.prompts import Template
from peft_study.data.samples import Sample
from peft_study.errors import UserError
from peft_study.models.declared import Positions
from peft_study.models.families import FAMILIES

_PROMPTS = {"train": "training", "validation": "validation"}


@dataclass(frozen=True)
class Prepared:
    """A cell's data in token form.

    Attributes:
        train: encoded training split.
        validation: encoded validation split.
        test: the test samples.
        prompt_texts: what the model reads for each test sample.
        prompts: the same as token ids.
        shown: the examples of each prompt, without those that did not fit.
    """

    train: Sequence[tokens.Encoded]
    validation: Sequence[tokens.Encoded]
    test: Sequence[Sample]
    prompt_texts: Sequence[str]
    prompts: Sequence[Sequence[int]]
    shown: Sequence[Shown]


class CellEncoder:
    """Encodes the samples of one cell within the settings' limits and the model's positions.

    Args:
        cell: the typed, checked config.
        template: the prompts that the model reads.
        tokenizer: the model's tokenizer.
        positions: the model's positions; None if it has no limit.
        device: where a retriever of examples computes.
    """

    def __init__(
        self,
        cell: CellConfig,
        template: Template,
        tokenizer: PreTrainedTokenizerBase,
        positions: Positions | None,
        device: torch.device,
    ) -> None:
        self._cell = cell
        self._template = template
        self._tokenizer = tokenizer
        self._positions = positions
        self._device = device
        self._for_encoder = FAMILIES[cell.model.family].encoder_decoder

    def check_lengths(self) -> None:
        """Check that the longest prompt and answer that the settings allow fit the model together.

        Raises:
            UserError: they do not fit.
        """
        dataset, positions = self._cell.dataset, self._positions
        if positions is None:  # T5 has relative positions
            return
        # By the settings alone, before the data is read. `prepare` checks what prompts really need.
        lengths = {"dataset.max_new_tokens": dataset.max_new_tokens}
        if self._cell.method.trains:
            budget = dataset.max_prompt_tokens + dataset.max_target_tokens
            lengths["dataset.max_prompt_tokens, dataset.max_target_tokens"] = budget
        for settings, longest in lengths.items():
            if longest > positions.free:
                raise _too_long(positions, "prompt and answer", longest, settings, hint="lower them")

    def prepare(self) -> tuple[Prepared, dict[str, Any]]:
        """Load the data set and encode its splits.

        Returns:
            the data in token form, and the "data" of the cell's result.

        Raises:
            UserError: the data cannot be read, or a sample does not fit the model.
        """
        splits = loading.load(self._cell.dataset)
        chooser = ExampleChooser(self._cell, splits.train, self._device)
        drawn = chooser.for_prompts(splits.test)
        # The test split goes first: its prompts hold examples and are the longest, so a refusal comes early.
        test = self._encode_test(splits.test, [chooser.samples(examples) for examples in drawn])
        shown = [examples.without_first(sample.examples_cut) for examples, sample in zip(drawn, test, strict=True)]
        samples = {"train": splits.train, "validation": splits.validation}
        complete = {split: self._encode_alone(part, split) for split, part in samples.items()}
        encoded = self._without_long(complete)
        too_long = {split: len(complete[split]) - len(encoded[split]) for split in complete}
        lengths = token_counts.lengths(encoded["train"])
        if self._cell.method.train_with_examples:
            encoded = self._encode_with_examples(samples, complete, chooser)
        encoded["test"] = test
        record = {
            "name": self._cell.dataset.name,
            "origin": splits.origin,
            "fingerprint": splits.fingerprint,
            "sizes": splits.sizes(),
            "dropped": dict(splits.dropped),
            "too_long": too_long,
            "leakage": asdict(splits.leakage),
            "token_lengths": lengths,
            "changed_targets": token_counts.changed_targets(encoded),
            "truncation": {split: asdict(token_counts.truncation(part)) for split, part in encoded.items()},
        }
        if examples_record := chooser.record(splits.test, shown):
            record["examples"] = examples_record
        prepared = Prepared(
            train=encoded["train"],
            validation=encoded["validation"],
            test=splits.test,
            prompt_texts=[str(self._tokenizer.decode(list(sample.prompt))) for sample in test],
            prompts=[sample.prompt for sample in test],
            shown=shown,
        )
        return prepared, record

    def _without_long(self, encoded: Mapping[str, Sequence[tokens.Encoded]]) -> dict[str, list[tokens.Encoded]]:
        """Leave out the samples that `conventions.max_sample_tokens` excludes."""
        longest = self._cell.conventions.max_sample_tokens
        short = {split: token_counts.not_longer_than(longest, part) for split, part in encoded.items()}
        if any(encoded[split] and not short[split] for split in encoded):
            what = f"conventions.max_sample_tokens must leave samples to train on and to validate with, got {longest}"
            raise UserError(what, where="conventions.max_sample_tokens", hint="a larger number, or null")
        return short

    def _encode_alone(self, samples: Sequence[Sample], split: str) -> list[tokens.Encoded]:
        """Encode training or validation samples without examples."""
        encoded = [self._encode(sample, self._training_limits()) for sample in samples]
        # A cell that only prompts reads these samples as examples, which `_encode_test` checks.
        if self._cell.method.trains:
            for ids in encoded:
                self._check_fits(ids, len(ids.target), f"{_PROMPTS[split]} prompt")
        return encoded

    def _encode_with_examples(
        self,
        samples: Mapping[str, Sequence[Sample]],
        encoded_alone: Mapping[str, Sequence[tokens.Encoded]],
        chooser: ExampleChooser,
    ) -> dict[str, list[tokens.Encoded]]:
        """Encode training and validation with as many of their examples as the positions allow."""
        shown = {"train": chooser.for_train(), "validation": chooser.for_prompts(samples["validation"])}
        longest = self._cell.conventions.max_sample_tokens
        encoded: dict[str, list[tokens.Encoded]] = {}
        for split, part in samples.items():
            encoded[split] = []
            for sample, alone, examples in zip(part, encoded_alone[split], shown[split], strict=True):
                # The limit is that of the sample, and not of its examples.
                if not token_counts.not_longer_than(longest, [alone]):
                    continue
                room = None if self._positions is None else self._positions.free - len(alone.target)
                limits = replace(self._training_limits(), prompt_positions=room)
                ids = self._encode(sample, limits, chooser.samples(examples))
                self._check_fits(ids, len(ids.target), f"{_PROMPTS[split]} prompt")
                encoded[split].append(ids)
        return encoded

    def _training_limits(self) -> tokens.Limits:
        dataset = self._cell.dataset
        shared = dataset.truncation is Truncation.joint
        return tokens.Limits(dataset.max_prompt_tokens, dataset.max_target_tokens, shared=shared)

    def _encode_test(self, samples: Sequence[Sample], examples: Sequence[Sequence[Sample]]) -> list[tokens.Encoded]:
        dataset, positions = self._cell.dataset, self._positions
        limits = tokens.Limits(
            None if dataset.truncation is Truncation.joint else dataset.max_prompt_tokens,
            dataset.max_target_tokens,
            prompt_positions=None if positions is None else positions.free - dataset.max_new_tokens,
        )
        template = self._template
        # As package v1 does for a decoder that it trained (docs/differences.md).
        if self._cell.conventions.leading_newline and self._cell.method.trains and not self._for_encoder:
            template = replace(template, prefix=f"\n{template.prefix}")
        encoded = []
        for sample, shown in zip(samples, examples, strict=True):
            ids = self._encode(sample, limits, shown, template)
            self._check_fits(ids, dataset.max_new_tokens, "test prompt")
            encoded.append(ids)
        return encoded

    def _encode(
        self,
        sample: Sample,
        limits: tokens.Limits,
        examples: Sequence[Sample] = (),
        template: Template | None = None,
    ) -> tokens.Encoded:
        template = template or self._template
        return tokens.encode(
            sample, template, self._tokenizer, limits, for_encoder=self._for_encoder, examples=examples
        )

    def _check_fits(self, sample: tokens.Encoded, answer_tokens: int, name: str) -> None:
        """Refuse a prompt that does not fit the model with its answer after everything that may be cut is cut."""
        longest = len(sample.prompt) + answer_tokens
        if self._positions is not None and longest > self._positions.free:
            raise _too_long(
                self._positions,
                f"a {name} (examples and instruction left out) and its answer",
                longest,
                "dataset.max_new_tokens, method.preamble, model",
                hint="lower max_new_tokens, shorten the preamble, or use a model with more positions",
            )


def template_of(cell: CellConfig) -> Template:
    """Return the prompts that a cell's model reads, and the rules for where its candidates end."""
    model, dataset = cell.model, cell.dataset
    # As the study prompts CodeT5+ without training, which answers at <extra_id_0>.
    sentinel = model.prompt_sentinel if not cell.method.trains else ""
    prefix = "" if sentinel else model.prompt_prefix
    # Llama's tokenizers are configured to leave spaces as they are.
    cleaned = cell.conventions.clean_up_spaces and model.family is not Family.llama
    cut = cell.conventions.cut_at_angle_brackets
    return Template(dataset.prompt_form, prefix, dataset.stop_at_newline, cell.method.preamble, sentinel, cleaned, cut)


def check_sentinel(template: Template, tokenizer: PreTrainedTokenizerBase) -> None:
    """Check that the sentinel of a template is one token of the tokenizer.

    Raises:
        UserError: the tokenizer does not have it.
    """
    if template.sentinel and template.sentinel not in tokenizer.get_vocab():
        what = f"model.prompt_sentinel must be a token of the tokenizer, got {template.sentinel!r}"
        raise UserError(what, where="model.prompt_sentinel, model.tokenizer", hint="model.prompt_sentinel='' for none")


def _too_long(positions: Positions, subject: str, longest: int, settings: str, hint: str) -> UserError:
    """Return the error for lengths beyond the positions. It names virtual tokens if the lengths would fit without."""
    if longest <= positions.total and positions.virtual:
        settings, hint = f"method.adapter.num_virtual_tokens, {settings}", f"fewer virtual tokens; or {hint}"
    return UserError(f"{subject} must fit {positions}, got {longest} tokens", where=settings, hint=hint)
