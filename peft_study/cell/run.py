"""One cell from data to score, as a sequence to read from top to bottom."""

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedTokenizerBase, set_seed

from peft_study.config.schema import CellConfig, ExampleChoice, Family, MethodKind, Truncation
from peft_study.cost.memory import Meter, apply_budget, device_bytes
from peft_study.cost.policy import choose_memory, recorded
from peft_study.data import loading, tokens
from peft_study.data.examples import choose
from peft_study.data.prompts import Template
from peft_study.data.samples import Sample
from peft_study.errors import UserError
from peft_study.generation.decode import Decoder
from peft_study.models.adapter import (
    adapter_config,
    adapter_errors,
    attach,
    check_trains,
    recompute_activations,
    virtual_tokens,
)
from peft_study.models.declared import Positions, declared_config
from peft_study.models.families import FAMILIES
from peft_study.models.fit import check_fit
from peft_study.models.loading import Model, fit_vocabulary, load_model, load_tokenizer
from peft_study.models.parameters import count
from peft_study.models.precision import choose as choose_compute
from peft_study.models.retrieval import load_retriever
from peft_study.results import provenance
from peft_study.results.schema import PhaseCost, RunResult
from peft_study.results.store import CellFolder
from peft_study.scoring.running import check_sandbox
from peft_study.scoring.score import Answers, score
from peft_study.tracking.base import Tracker
from peft_study.training import checkpoint, resume
from peft_study.training.loop import train
from peft_study.training.loss import training_loss
from peft_study.training.packing import BatchBuilder, batch_builder
from peft_study.training.schedule import plan

CHECKPOINTS = "checkpoints"
TRIAL_TOKENS = 8
"""Tokens of the prompt and of the target that an adapter is tried on: enough to run every layer, at no cost."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A cell's data in token form.

    Attributes:
        train: encoded training split.
        validation: encoded validation split.
        test: the test samples.
        prompt_texts: what the model reads for each test sample.
        prompts: the same as token ids.
    """

    train: Sequence[tokens.Encoded]
    validation: Sequence[tokens.Encoded]
    test: Sequence[Sample]
    prompt_texts: Sequence[str]
    prompts: Sequence[Sequence[int]]


class CellRun:
    """Runs one cell and fills its result as it goes, so that a failure keeps what was measured before it.

    Args:
        cell: the typed, checked config.
        folder: where the cell's files go.
        tracker: watches.
        result: filled in place.
        earlier: the result of an interrupted run of the same cell, to go on with.
    """

    def __init__(
        self,
        cell: CellConfig,
        folder: CellFolder,
        tracker: Tracker,
        result: RunResult,
        earlier: RunResult | None = None,
    ) -> None:
        self._cell = cell
        self._folder = folder
        self._tracker = tracker
        self._result = result
        self._family = FAMILIES[cell.model.family]
        self._compute = choose_compute(cell.hardware.device, cell.training.precision)
        self._meter = Meter(self._compute.device, self._costs_to_add(earlier))
        self._template = template_of(cell)
        self._trains = cell.method.kind is not MethodKind.prompting

    def _costs_to_add(self, earlier: RunResult | None) -> dict[str, PhaseCost]:
        """The costs of an interrupted run that this one goes on with; work in another number format is dropped."""
        if earlier is None:
            return {}
        precision = earlier.provenance.get("precision")
        if precision not in (None, str(self._compute.precision)):
            logger.warning("the interrupted run computed in %s, so the cell starts over", precision)
            self._folder.remove_work()
            return {}
        return {name: cost for name, cost in earlier.phases.items() if name in {"train", "generate"}}

    def load(self) -> None:
        """Load data, tokenizer and model; what a person has to mend shows here, before anything takes long."""
        self._set_up_machine()
        with self._phase("load"):
            self._tokenizer = load_tokenizer(self._cell.model)
            self._check_sentinel()
            self._declared = declared_config(self._cell.model)
            self._positions = self._find_positions()
            self._check_lengths()
            self._prepared = self._prepare(self._tokenizer)
            check_sandbox(self._prepared.test, self._cell.scoring)
            self._divide_batch()
            self._model = self._load_model(self._tokenizer)
            if isinstance(self._model, PeftModel):
                self._try_out(self._model)

    def run(self) -> None:
        """Train, generate, score; goes on where an interrupted run stopped."""
        if self._trains:
            with self._phase("train", self._training_steps()):
                self._train()
        with self._phase("generate", len(self._prepared.test)):
            candidates = self._generate()
        with self._phase("score", sum(map(len, candidates))):
            self._score(candidates)

    def tidy(self) -> None:
        """Remove the checkpoints, once the result is on disk."""
        shutil.rmtree(self._folder.path / CHECKPOINTS, ignore_errors=True)

    def _set_up_machine(self) -> None:
        hardware = self._cell.hardware
        if hardware.threads is not None:
            torch.set_num_threads(hardware.threads)
        apply_budget(self._compute.device, hardware.budget_bytes)
        set_seed(self._cell.seed)
        self._result.memory_kind = self._meter.kind
        self._result.phases = self._meter.phases
        self._result.provenance = provenance.collect() | {
            "device": _device_name(self._compute.device),
            "device_bytes": device_bytes(self._compute.device, hardware.budget_bytes),
            "precision": str(self._compute.precision),
            "threads": torch.get_num_threads(),
            "seed": self._cell.seed,
        }

    def _prepare(self, tokenizer: PreTrainedTokenizerBase) -> Prepared:
        splits = loading.load(self._cell.dataset)
        # Test prompts first: with their examples they are the longest, and one that does not fit ends the cell.
        test = self._encoded_test(splits.test, tokenizer, self._examples(splits))
        encoded = {
            "train": self._encoded(splits.train, tokenizer, "training"),
            "validation": self._encoded(splits.validation, tokenizer, "validation"),
        }
        longest = self._cell.conventions.max_sample_tokens
        kept = {split: tokens.not_longer_than(longest, samples) for split, samples in encoded.items()}
        left_out = {split: len(samples) - len(kept[split]) for split, samples in encoded.items()}
        if any(left_out[split] and not kept[split] for split in kept):
            raise UserError(
                f"conventions.max_sample_tokens must leave samples to train on and to validate with, got {longest}",
                where="conventions.max_sample_tokens",
                hint="a larger number, or null",
            )
        encoded = {**kept, "test": test}
        self._result.data = {
            "name": self._cell.dataset.name,
            "origin": splits.origin,
            "fingerprint": splits.fingerprint,
            "sizes": splits.sizes(),
            "dropped": dict(splits.dropped),
            "too_long": left_out,
            "leakage": asdict(splits.leakage),
            "token_lengths": tokens.lengths(encoded["train"]),
            "changed_targets": tokens.changed_targets(encoded),
            "truncation": {name: asdict(tokens.truncation(samples)) for name, samples in encoded.items()},
        }
        return Prepared(
            train=encoded["train"],
            validation=encoded["validation"],
            test=splits.test,
            prompt_texts=[str(tokenizer.decode(list(sample.prompt))) for sample in encoded["test"]],
            prompts=[sample.prompt for sample in encoded["test"]],
        )

    def _examples(self, splits: loading.Splits) -> list[tuple[Sample, ...]]:
        method = self._cell.method
        embed = None
        if method.examples is ExampleChoice.nearest:
            assert method.retriever is not None, "config.checks asks for a retriever"
            corpus = [sample.instruction for sample in splits.train]
            embed = load_retriever(method.retriever, corpus, self._compute.device)
        if method.num_examples > len(splits.train):
            logger.warning(
                "%d examples are asked for, the training split has %d", method.num_examples, len(splits.train)
            )
        return choose(method.examples, method.num_examples, splits.train, splits.test, self._cell.seed, embed)

    def _encoded(
        self, samples: Sequence[Sample], tokenizer: PreTrainedTokenizerBase, split: str
    ) -> list[tokens.Encoded]:
        dataset = self._cell.dataset
        limits = tokens.Limits(
            dataset.max_prompt_tokens, dataset.max_target_tokens, shared=dataset.truncation is Truncation.joint
        )
        encoded = []
        for sample in samples:
            of_sample = tokens.encode(
                sample, self._template, tokenizer, limits, for_encoder=self._family.encoder_decoder
            )
            if self._trains:
                self._check_fits(of_sample, len(of_sample.target), f"{split} prompt")
            encoded.append(of_sample)
        return encoded

    def _encoded_test(
        self, samples: Sequence[Sample], tokenizer: PreTrainedTokenizerBase, examples: Sequence[Sequence[Sample]]
    ) -> list[tokens.Encoded]:
        dataset, positions = self._cell.dataset, self._positions
        limits = tokens.Limits(
            None if dataset.truncation is Truncation.joint else dataset.max_prompt_tokens,
            dataset.max_target_tokens,
            prompt_positions=None if positions is None else positions.free - dataset.max_new_tokens,
        )
        template = self._template
        if self._cell.conventions.leading_newline and self._trains and not self._family.encoder_decoder:
            template = replace(template, prefix=f"\n{template.prefix}")
        encoded = []
        for sample, shown in zip(samples, examples, strict=True):
            of_sample = tokens.encode(
                sample, template, tokenizer, limits, for_encoder=self._family.encoder_decoder, examples=shown
            )
            self._check_fits(of_sample, dataset.max_new_tokens, "test prompt")
            encoded.append(of_sample)
        return encoded

    def _check_sentinel(self) -> None:
        sentinel = self._template.sentinel
        if sentinel and sentinel not in self._tokenizer.get_vocab():
            raise UserError(
                f"prompt_sentinel must be a token of the tokenizer, got {sentinel!r}",
                where="model.prompt_sentinel, model.tokenizer",
                hint="model.prompt_sentinel='' for none",
            )

    def _divide_batch(self) -> None:
        """Choose micro-batch and checkpointing by the predicted memory, and refuse what no choice makes fit."""
        if self._compute.device.type != "cuda":
            return  # the prediction is of a GPU's memory, and takes seconds
        cell = self._cell
        in_force = replace(cell.training, precision=self._compute.precision)
        budget = device_bytes(self._compute.device, cell.hardware.budget_bytes)
        choice = choose_memory(replace(cell, training=in_force), budget)
        self._result.predicted = recorded(choice)
        if choice.advice is not None and choice.exceeds_even_without_overhead:
            raise UserError(
                f"predicted memory must fit the budget: {choice.advice}",
                where="training.memory, hardware.memory_budget_gb",
                hint="training.memory=auto, quantization=nf4, or generation.batch_size=1",
            )
        if self._trains:
            logger.info("micro-batch %d: %s", choice.training.micro_batch_size, choice.reason)
        self._cell = replace(cell, training=replace(choice.training, precision=cell.training.precision))

    def _find_positions(self) -> Positions | None:
        total = self._family.positions(self._declared)
        adapter = adapter_config(self._cell.method, self._family, self._tokenizer.name_or_path)
        return None if total is None else Positions(total, virtual_tokens(adapter))

    def _check_lengths(self) -> None:
        """Refuse limits on prompts and answers that do not fit the model together."""
        dataset, positions = self._cell.dataset, self._positions
        if positions is None:
            return
        lengths = {"dataset.max_new_tokens": dataset.max_new_tokens}
        if self._trains:
            budget = dataset.max_prompt_tokens + dataset.max_target_tokens
            lengths["dataset.max_prompt_tokens, dataset.max_target_tokens"] = budget
        for settings, longest in lengths.items():
            if longest > positions.free:
                raise self._too_long("prompt and answer", longest, settings, hint="lower them")

    def _check_fits(self, sample: tokens.Encoded, answer: int, what: str) -> None:
        """Refuse a prompt that does not fit the model with its answer although all that may be cut was cut."""
        longest = len(sample.prompt) + answer
        if self._positions is not None and longest > self._positions.free:
            raise self._too_long(
                f"a {what} (examples and instruction left out) and its answer",
                longest,
                "dataset.max_new_tokens, method.preamble, model",
                hint="lower max_new_tokens, shorten the preamble, or use a model with more positions",
            )

    def _too_long(self, what: str, longest: int, settings: str, hint: str) -> UserError:
        """The error for lengths beyond the model's positions; it blames virtual tokens where they take the room."""
        assert self._positions is not None
        if longest <= self._positions.total and self._positions.virtual:
            settings, hint = f"method.adapter.num_virtual_tokens, {settings}", f"fewer virtual tokens; or {hint}"
        return UserError(f"{what} must fit {self._positions}, got {longest} tokens", where=settings, hint=hint)

    def _load_model(self, tokenizer: PreTrainedTokenizerBase) -> Model:
        cell = self._cell
        steps = self._training_steps() if self._prepared.train else 0
        adapter = adapter_config(cell.method, self._family, tokenizer.name_or_path, steps)
        budget = cell.hardware.budget_bytes
        check_fit(cell.model, self._declared, cell.quantization, cell.method.kind, self._compute, budget)
        base = load_model(cell.model, cell.quantization, cell.method.kind, self._compute, tokenizer)
        self._check_vocabulary(base, tokenizer)
        self._result.provenance["model_commit"] = getattr(base.config, "_commit_hash", None)
        model = attach(base, cell.method.kind, adapter, cell.seed)
        if cell.training.gradient_checkpointing and self._trains:
            recompute_activations(model)
        self._result.parameters = asdict(count(model))
        return model

    def _check_vocabulary(self, base: Model, tokenizer: PreTrainedTokenizerBase) -> None:
        embeddings: Any = base.get_input_embeddings()
        fit_vocabulary(tokenizer, int(embeddings.num_embeddings))

    def _try_out(self, model: PeftModel) -> None:
        """Take a short training step and write a short answer: an adapter that can do either alone is refused here."""
        sample = self._prepared.train[0]
        short = replace(sample, prompt=sample.prompt[:TRIAL_TOKENS], target=sample.target[:TRIAL_TOKENS])
        check_trains(model, self._collator()([short]), self._compute, training_loss)
        with adapter_errors(model.active_peft_config, "generate with"):
            next(self._decoder(max_new_tokens=1).generate([short.prompt], done=set()))

    def _training_steps(self) -> int:
        training = self._cell.training
        return plan(
            len(self._prepared.train), training.batch_size, training.epochs, training.evaluations_per_epoch
        ).total_steps

    def _collator(self) -> BatchBuilder:
        cell, pad = self._cell, int(self._tokenizer.pad_token_id)
        return batch_builder(self._model, pad, cell.training, cell.dataset, left_padding=cell.conventions.left_padding)

    def _decoder(self, max_new_tokens: int) -> Decoder:
        cell = self._cell
        return Decoder(
            self._model, self._tokenizer, self._template, cell.generation, max_new_tokens, self._compute, cell.seed
        )

    def _train(self) -> None:
        assert self._cell.method.learning_rate is not None, "config.checks asks for a learning rate"
        folder = self._folder.path / CHECKPOINTS
        last = resume.last_complete(folder)
        self._folder.forget_steps_after((resume.step_of(last) or 0) if last else -1)
        trained = train(
            self._model,
            self._prepared.train,
            self._prepared.validation,
            self._collator(),
            self._cell.training,
            learning_rate=self._cell.method.learning_rate,
            seed=self._cell.seed,
            compute=self._compute,
            folder=folder,
            on_step=self._record_step,
            on_progress=self._tracker.progress,
        )
        if trained.resumed_from_step != trained.steps:
            self._folder.forget_candidates()
        checkpoint.restore(self._model, trained.checkpoint)
        base = self._cell.model
        checkpoint.keep(self._model, trained.checkpoint, self._folder.path, base.source or base.name, base.revision)
        self._result.training = {key: value for key, value in asdict(trained).items() if key != "checkpoint"}

    def _record_step(self, step: int, values: Mapping[str, float]) -> None:
        self._folder.append_step(step, values)
        self._tracker.step(step, values)
        if "validation_loss" in values:
            self._record_cost()

    def _record_cost(self) -> None:
        """Leave what the cell cost so far in its result, where a killed process has no other way to say it."""
        self._meter.measure()
        self._folder.write_result(self._result)

    def _generate(self) -> Sequence[Sequence[str]]:
        cell = self._cell
        decoder = self._decoder(cell.dataset.max_new_tokens)
        found: dict[int, Sequence[str]] = dict(
            self._folder.read_candidates(len(self._prepared.test), cell.generation.num_candidates)
        )
        self._tracker.progress(len(found))
        for batch in decoder.generate(self._prepared.prompts, done=found.keys()):
            self._folder.append_candidates(asdict(generated) for generated in batch)
            self._record_cost()
            found.update({generated.index: generated.candidates for generated in batch})
            self._tracker.progress(len(found))
        return [found[index] for index in range(len(self._prepared.test))]

    def _score(self, candidates: Sequence[Sequence[str]]) -> None:
        samples = self._prepared.test
        answers = Answers(
            samples=samples,
            prompts=self._prepared.prompt_texts,
            programs=[
                [self._template.program(text, sample) for text in texts]
                for sample, texts in zip(samples, candidates, strict=True)
            ],
            sampled=self._cell.generation.temperature is not None,
        )
        scored = score(answers, self._cell.scoring, self._tracker.progress)
        self._result.metrics, self._result.intervals = scored.metrics, scored.intervals
        self._result.execution = scored.execution
        self._folder.write_predictions(scored.predictions)

    @contextmanager
    def _phase(self, name: str, total: int | None = None) -> Iterator[None]:
        self._tracker.phase(name, total)
        with self._meter.phase(name):
            yield


def template_of(cell: CellConfig) -> Template:
    """The prompts that a cell's model reads, and where its candidates end."""
    model, dataset = cell.model, cell.dataset
    sentinel = model.prompt_sentinel if cell.method.kind is MethodKind.prompting else ""
    prefix = "" if sentinel else model.prompt_prefix
    conventions = cell.conventions
    return Template(
        dataset.prompt_form,
        prefix,
        dataset.stop_at_newline,
        cell.method.preamble,
        sentinel,
        # Llama's tokenizers are configured to leave spaces as they are.
        cleaned=conventions.clean_up_spaces and cell.model.family is not Family.llama,
        cut_at_brackets=conventions.cut_at_angle_brackets,
    )


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
