"""Turn documents into batches of token ids, labels and loss weights. Batches of decoders have no padding."""

from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from tiny_corpus.documents import document
from tiny_corpus.heldout import HeldOut
from tiny_corpus.invented import Pair

IGNORE = -100
INSTRUCTION_WEIGHT = 0.1
TOKENS_PER_BATCH = 4_096
LENGTHS, LENGTH_SHARES = (64, 256, 512), (0.2, 0.35, 0.45)
"""Tokens a row (about two, seven and fourteen pairs), and the share of batches of each length."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's data.

    Attributes:
        inputs: token ids; batch x length.
        labels: the token that each position predicts (already shifted), or -100; batch x length of the decoder.
        weights: loss weight of each position; shape of `labels`.
        pair: index of the pair within its document, from 0, to observe in-context learning; shape of `labels`.
        targets: the decoder's input ids of an encoder-decoder model.
    """

    inputs: Tensor
    labels: Tensor
    weights: Tensor
    pair: Tensor
    targets: Tensor | None = None


class Encoder:
    """Encodes pairs in the study's prompt layout."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.instruction, self.response, self.line = (
            self.ids(text) for text in ("### Instruction:\n", "\n### Response:\n", "\n")
        )
        self.end = int(tokenizer.eos_token_id)
        self.pad = int(tokenizer.pad_token_id)

    def ids(self, text: str) -> list[int]:
        return [int(token) for token in self.tokenizer.encode(text, add_special_tokens=False)]

    def prompt(self, instruction: str) -> list[int]:
        return [*self.instruction, *self.ids(instruction), *self.response]


def decoder_row(
    encoder: Encoder, pairs: list[Pair], length: int
) -> tuple[list[int], list[int], list[float], list[int]]:
    """Lay pairs in a row and cut it at a length.

    The label at the end of an answer is the end token, although the input continues with a blank line and the next
    pair. Otherwise generation would not stop after the answer to a few-shot prompt.
    """
    row: list[int] = []
    labels: list[int] = []
    weights: list[float] = []
    position: list[int] = []
    for number, (instruction, answer) in enumerate(pairs):
        wording, code = encoder.ids(instruction), encoder.ids(answer)
        chunk = [*encoder.instruction, *wording, *encoder.response, *code, *encoder.line, *encoder.line]
        before = len(encoder.instruction)
        head = [*wording, encoder.response[0]]
        labels += [
            *[IGNORE] * (before - 1),
            *head,
            *[IGNORE] * (len(encoder.response) - 1),
            *code,
            encoder.end,
            IGNORE,
            IGNORE,
        ]
        weights += [INSTRUCTION_WEIGHT] * (before + len(wording) + len(encoder.response) - 1) + [1.0] * (len(code) + 3)
        position += [number] * len(chunk)
        row += chunk
        if len(row) >= length:
            break
    return row[:length], labels[:length], weights[:length], position[:length]


def decoder_batch(encoder: Encoder, rng: Random, held_out: HeldOut) -> Batch:
    """Draw a batch for a decoder-only model."""
    length = rng.choices(LENGTHS, weights=LENGTH_SHARES)[0]
    rows: list[tuple[list[int], list[int], list[float], list[int]]] = []
    while len(rows) < TOKENS_PER_BATCH // length:
        row = decoder_row(encoder, document(rng, length // 20 + 2, held_out), length)
        if len(row[0]) == length:
            rows.append(row)
    inputs, labels, weights, position = zip(*rows, strict=True)
    return Batch(torch.tensor(inputs), torch.tensor(labels), torch.tensor(weights), torch.tensor(position))


def seq2seq_batch(encoder: Encoder, rng: Random, held_out: HeldOut) -> Batch:
    """Draw a batch for an encoder-decoder model: examples and a prompt in, the answer out.

    The encoder's rows are padded to a multiple of 64, so that the kernels meet few shapes.
    """
    examples = rng.choices((0, 2, 4), weights=(0.45, 0.35, 0.2))[0]
    rows, answers = [], []
    for _ in range({0: 96, 2: 48, 4: 24}[examples]):
        pairs: list[Pair] = []
        while len(pairs) < examples + 1:
            pairs = document(rng, examples + 1, held_out)
        *shown, (instruction, answer) = pairs
        row: list[int] = []
        for wording, code in shown:
            row += [*encoder.prompt(wording), *encoder.ids(code), *encoder.line, *encoder.line]
        rows.append([*row, *encoder.prompt(instruction), encoder.end])
        answers.append([*encoder.ids(answer), encoder.end])
    width, depth = (-(-max(map(len, group)) // step) * step for group, step in ((rows, 64), (answers, 16)))
    inputs = torch.tensor([row + [encoder.pad] * (width - len(row)) for row in rows])
    labels = torch.tensor([answer + [IGNORE] * (depth - len(answer)) for answer in answers])
    starts = torch.full((len(rows), 1), encoder.pad)
    targets = torch.cat([starts, labels[:, :-1].clamp(min=0)], 1)
    return Batch(
        inputs, labels, torch.ones_like(labels, dtype=torch.float32), torch.full_like(labels, examples), targets
    )
