"""Runs one cell from data to score: load, train, generate, score."""

import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, replace

import torch
from peft import PeftModel

from peft_study.cell import division
from peft_study.cell.encoding import CellEncoder, check_sentinel, template_of
from peft_study.cell.followers import joined_ranks
from peft_study.cell.recorder import Recorder
from peft_study.cell.setup import load_cell_model, machine_record, set_up_machine
from peft_study.config.schema import CellConfig
from peft_study.cost.memory import Meter
from peft_study.data.tokens import count_tokens
from peft_study.generation.decode import Decoder
from peft_study.models.adapter import adapter_config, adapter_errors, check_trains, virtual_tokens
from peft_study.models.declared import Positions, declared_config
from peft_study.models.families import FAMILIES
from peft_study.models.loading import base_of, load_tokenizer
from peft_study.models.parameters import count
from peft_study.models.precision import choose as choose_compute
from peft_study.results.attempts import Attempt
from peft_study.results.schema import RunResult, Work
from peft_study.results.store import CellFolder
from peft_study.scoring.needs import check_sandbox
from peft_study.scoring.score import Answers, score
from peft_study.tracking.base import Tracker
from peft_study.training import checkpoint, resume
from peft_study.training.loop import train
from peft_study.training.loss import training_loss
from peft_study.training.packing import BatchBuilder, batch_builder
from peft_study.training.ranks import ALONE, Ranks, shard_frozen_weights
from peft_study.training.schedule import plan

CHECKPOINTS = "checkpoints"
TRIAL_TOKENS = 8
"""Prompt and target tokens in the trial of an adapter: enough to run every layer, and cheap."""
logger = logging.getLogger(__name__)


class CellRun:
    """Runs one cell and fills its result as it goes, so that a failure keeps what was measured before it.

    Args:
        cell: the typed, checked config.
        folder: where the cell's files go.
        tracker: follows the cell.
        result: filled in place.
        earlier: the result of an interrupted run of the same cell, which this one resumes.
        attempt: the record of this process, filled in place.
        follows: this process has a rank above 0, and its batch is divided as in the first rank.
    """

    def __init__(
        self,
        cell: CellConfig,
        folder: CellFolder,
        tracker: Tracker,
        result: RunResult,
        earlier: RunResult | None = None,
        attempt: Attempt | None = None,
        *,
        follows: bool = False,
    ) -> None:
        self._cell = cell
        self._attempt = attempt or Attempt()
        self._folder = folder
        self._tracker = tracker
        self._result = result
        self._compute = choose_compute(cell.hardware.device, cell.training.precision)
        self._earlier = self._resumable(earlier)
        phases = self._earlier.phases if self._earlier is not None else {}
        # Load and score run again, so their earlier seconds would count twice.
        costs = {name: cost for name, cost in phases.items() if name in {"train", "generate"}}
        self._meter = Meter(self.device, costs)
        self._recorder = Recorder(folder, tracker, self._meter, result, self._attempt)
        self._template = template_of(cell)
        self._follows = follows
        self._ranks = ALONE

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return self._compute.device

    def _resumable(self, earlier: RunResult | None) -> RunResult | None:
        """Return the interrupted run. If it computed in another number format, remove its work and return None."""
        if earlier is None:
            return None
        precision = earlier.provenance.get("precision")
        if precision in (None, str(self._compute.precision)):
            return earlier
        logger.warning("the interrupted run computed in %s, so the cell starts over", precision)
        self._folder.remove_work()
        return None

    def load(self) -> None:
        """Load data, tokenizer and model, and report here, before anything takes long, what the user has to change.

        Raises:
            UserError: the data, the model and the settings do not fit together.
        """
        set_up_machine(self._cell, self.device)
        self._result.memory_kind = self._meter.kind
        # The meter fills this mapping, so that every write of the result has the costs so far.
        self._result.phases = self._meter.phases
        earlier = self._earlier
        earlier_device = earlier.provenance.get("device") if earlier is not None and "train" in earlier.phases else None
        self._result.provenance = machine_record(self._cell, self._compute, earlier_device)
        with self._recorder.phase("load"):
            self._tokenizer = load_tokenizer(self._cell.model)
            check_sentinel(self._template, self._tokenizer)
            self._declared = declared_config(self._cell.model)
            encoder = CellEncoder(self._cell, self._template, self._tokenizer, self._find_positions(), self.device)
            encoder.check_lengths()
            self._prepared, self._result.data = encoder.prepare()
            check_sandbox(self._prepared.test, self._cell.scoring)
            # A cell that does not fit is refused before its model loads.
            if not self._follows:
                self._cell = division.by_prediction(self._cell, self._compute, self._result)
            self._cell = division.by_attempts(self._cell, self._attempt, len(self._prepared.test))
            steps = self._training_steps() if self._prepared.train else 0
            self._model = load_cell_model(self._cell, self._compute, self._tokenizer, self._declared, steps)
            self._result.provenance["model_commit"] = getattr(base_of(self._model).config, "_commit_hash", None)
            self._result.parameters = asdict(count(self._model))
            # Divided weights compute only once all ranks have joined.
            if not self._cell.hardware.shard_weights:
                self._try_out()

    def run(self) -> None:
        """Train, generate and score. Each phase resumes where an interrupted run stopped."""
        self._restore_record()
        limit = self._attempt.restriction.prompts_at_once
        with joined_ranks(self._cell, self._folder.path, self.device, limit) as self._ranks:
            candidates = self._train_and_generate()
        with self._recorder.phase("score", sum(map(len, candidates))):
            self._score(candidates)

    def _restore_record(self) -> None:
        """Keep of the interrupted run's record what will not be repeated, and report it to the trackers."""
        if self._cell.method.trains:
            latest = resume.last_usable(self._folder.path / CHECKPOINTS)
            step = None if latest is None else resume.step_of(latest)
            # Training repeats the steps after the last checkpoint, which would otherwise be in the record twice.
            self._folder.forget_steps_after(-1 if step is None else step)
            if step != self._training_steps():
                # Steps will be taken, so candidates in the folder come from other weights.
                self._folder.forget_candidates()
        self._tracker.restore(self._folder.read_steps(), self._folder.read_usage())

    def follow(self, ranks: Ranks) -> None:
        """Train and generate the share of a rank above 0.

        Args:
            ranks: the ranks of the cell.
        """
        self._ranks = ranks
        self._train_and_generate()

    def _train_and_generate(self) -> Sequence[Sequence[str]]:
        if self._ranks.shards:
            shard_frozen_weights(self._model, self.device)
            self._try_out()
        if self._cell.method.trains:
            with self._recorder.phase("train", self._training_steps()):
                self._train()
        with self._recorder.phase("generate", len(self._prepared.test)):
            return self._generate()

    def _train(self) -> None:
        assert self._cell.method.learning_rate is not None, "config.checks asks for a learning rate"
        trained = train(
            self._model,
            self._prepared.train,
            self._prepared.validation,
            self._collator(),
            self._cell.training,
            learning_rate=self._cell.method.learning_rate,
            seed=self._cell.seed,
            compute=self._compute,
            folder=self._folder.path / CHECKPOINTS,
            on_step=self._recorder.step,
            on_progress=self._tracker.progress,
            on_work=self._meter.add_work,
            ranks=self._ranks,
            cuda_graphs=self._replays,
        )
        # The best checkpoint by validation loss, not the weights after the last step. transformers'
        # `load_best_model_at_end` fails for prompt learning.
        checkpoint.restore(self._model, trained.checkpoint)
        if not self._ranks.first:
            return
        base = self._cell.model
        name = base.source or base.name
        weights = checkpoint.keep(self._model, trained.checkpoint, self._folder.path, name, base.revision)
        self._result.training = {key: value for key, value in asdict(trained).items() if key != "checkpoint"}
        self._result.training["saved_bytes"] = sum(file.stat().st_size for file in weights.iterdir())

    def _generate(self) -> Sequence[Sequence[str]]:
        cell = self._cell
        decoder = self._decoder(cell.dataset.max_new_tokens)
        candidates = self._recorded_candidates()
        # No rank may append before all have read, because they divide what is left.
        self._ranks.wait(self.device)
        self._tracker.progress(len(candidates))
        earlier = self._earlier.decoding if self._earlier is not None and candidates else {}
        self._result.decoding = earlier
        began_seconds = time.perf_counter()
        # With divided weights every rank generates everything, because each step needs the weights of all ranks.
        share = (0, 1) if self._ranks.shards else (self._ranks.rank, self._ranks.size)
        for batch in decoder.generate(self._prepared.prompts, done=candidates.keys(), share=share):
            if self._ranks.first or not self._ranks.shards:
                self._folder.append_candidates(asdict(generated) for generated in batch)
            texts = [text for generated in batch for text in generated.candidates]
            seconds, began_seconds = time.perf_counter() - began_seconds, time.perf_counter()
            self._result.decoding = asdict(decoder.decoding.after(earlier))
            candidates.update({generated.index: generated.candidates for generated in batch})
            self._recorder.batch(len(candidates), Work(count_tokens(texts, self._tokenizer), seconds))
        self._ranks.wait(self.device)
        if self._ranks.size > 1 and self._ranks.first:
            recorded = self._recorded_candidates()
            texts = [text for index in recorded.keys() - candidates.keys() for text in recorded[index]]
            seconds = time.perf_counter() - began_seconds
            self._meter.add_work(Work(tokens=count_tokens(texts, self._tokenizer), seconds=seconds))
            candidates.update(recorded)
        return [] if self._follows else [candidates[index] for index in range(len(self._prepared.test))]

    def _recorded_candidates(self) -> dict[int, Sequence[str]]:
        return dict(self._folder.read_candidates(len(self._prepared.test), self._cell.generation.num_candidates))

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
            shown=self._prepared.shown,
        )
        scored = score(answers, self._cell.scoring, self._tracker.progress)
        self._result.metrics, self._result.intervals = scored.metrics, scored.intervals
        self._result.execution = scored.execution
        self._folder.write_predictions(scored.predictions)

    def tidy(self) -> None:
        """Remove the checkpoints. Call this once the result is on disk."""
        shutil.rmtree(self._folder.path / CHECKPOINTS, ignore_errors=True)

    def _find_positions(self) -> Positions | None:
        family = FAMILIES[self._cell.model.family]
        total = family.positions(self._declared)
        adapter = adapter_config(self._cell.method, family, self._tokenizer.name_or_path)
        return None if total is None else Positions(total, virtual_tokens(adapter))

    def _try_out(self) -> None:
        """Take a short training step and generate a short answer, to refuse an adapter that cannot do both."""
        model = self._model
        if not isinstance(model, PeftModel):
            return
        # Some of peft's config classes raise only in a step or in `generate` (docs/peft_methods.md).
        sample = self._prepared.train[0]
        short = replace(sample, prompt=sample.prompt[:TRIAL_TOKENS], target=sample.target[:TRIAL_TOKENS])
        check_trains(model, self._collator()([short]), self._compute, training_loss)
        with adapter_errors(model.active_peft_config, "generate with"):
            next(self._decoder(max_new_tokens=1).generate([short.prompt], done=set()))

    def _training_steps(self) -> int:
        return plan(len(self._prepared.train), self._cell.training).total_steps

    def _collator(self) -> BatchBuilder:
        cell, pad = self._cell, int(self._tokenizer.pad_token_id)
        return batch_builder(self._model, pad, cell.training, cell.dataset, left_padding=cell.conventions.left_padding)

    def _decoder(self, max_new_tokens: int) -> Decoder:
        cell = self._cell
        return Decoder(
            self._model,
            self._tokenizer,
            self._template,
            cell.limited_generation,
            max_new_tokens,
            self._compute,
            cell.seed,
            most_prompts=self._attempt.restriction.prompts_at_once,
            cuda_graphs=self._replays,
        )

    @property
    def _replays(self) -> bool:
        # Divided weights are gathered between the kernels of a step.
        return self._cell.hardware.cuda_graphs and not self._cell.hardware.shard_weights
