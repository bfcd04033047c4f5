"""Rebuild the tokenizer that the embedded models share: `python scripts/build_tiny_tokenizer.py`.

A byte-level BPE learned from a word list and Python's names. Text is split before the merges so that:

- an identifier has the same tokens in `'xs'` and in `in xs`;
- a space belongs to a neighbouring token: to an operator, comma or keyword, and between two words to the left one.
"""

import argparse
from pathlib import Path

from tiny_corpus.words import LISTS, lexicon
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from peft_study.models.tiny import FOLDER

VOCABULARY = 1_536
FULL_WEIGHT = 24
"""Words of this weight also get a token with the space behind them."""
PAD, END = "<pad>", "<eos>"
MARKERS = ("### Instruction:\n", "### Response:\n")
BRACES = ("for", "in", "if", "else", "and", "or", "not", "is")
KEYED = f"(?!(?:{'|'.join(BRACES)}) )"
PATTERN = "|".join(
    (
        rf" ?(?:{'|'.join(BRACES)}) ",  # a keyword takes the spaces on both sides
        rf"[A-Za-z]+ (?=[A-Za-z\d]){KEYED}",  # a word takes the space before the next word
        r"[A-Za-z]+",
        r"\d",
        rf" ?['\"](?: {KEYED})?",  # a quote is a separate token, so that a model copies the quoted text unchanged
        r"\n",
        rf" ?[^\sA-Za-z\d'\"]+(?: {KEYED})?",
        r" +",
        r"\s",
    )
)


def corpus() -> list[str]:
    """Texts that show every word and sign in the contexts where it should be a single token."""
    texts: list[str] = []
    for word, weight in lexicon().items():
        texts += [word] * (2 * weight)
        if weight == FULL_WEIGHT:
            texts += [f"{word} a"] * weight
    for sign in LISTS["signs"]:
        texts += [sign] * 40 + [f"x{sign} y"] * 10 + [f"x {sign} y"] * 25
    for word in BRACES:
        texts += [f"x {word} y"] * 60 + [f"({word} y"] * 30
    texts += [", ", " '", "' ", "'", ": ", ". ", "', '"] * 50
    return texts


def build() -> PreTrainedTokenizerFast:
    """Learn the merges; the result is the same on every machine."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(MARKERS),
        min_frequency=2,
        special_tokens=[PAD, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    # These are not special tokens: decoding without special tokens must keep them, as they are part of a prompt's text.
    tokenizer.add_tokens([AddedToken(marker, normalized=False, special=False) for marker in MARKERS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        clean_up_tokenization_spaces=False,
        model_max_length=2_048,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="target folder of the tokenizer's files")
    tokenizer = build()
    tokenizer.save_pretrained(parser.parse_args().folder)
    print(f"{len(tokenizer)} tokens")


if __name__ == "__main__":
    main()
