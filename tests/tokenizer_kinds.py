"""One real tokenizer of each kind that code models have, trained on a few invented functions."""

import json
from collections.abc import Callable
from functools import cache

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AddedToken,
    CodeGenTokenizer,
    CodeLlamaTokenizer,
    LlamaTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
    T5Tokenizer,
)

FUNCTIONS = [
    (
        'def double(n):\n    """Return n twice.\n\n    >>> double(2)\n    4\n    """\n',
        "    total = n\n    total += n\n    return total\n",
    ),
    (
        'def count_vowels(word):\n    """Return how many letters of word are vowels."""\n',
        '    vowels = "aeiou"\n    return sum(\n        letter in vowels for letter in word\n    )\n',
    ),
    (
        'def last(items):\n    """Return the last of some items, or None."""\n',
        "    return items[-1] if items else None\n",
    ),
]
"""Heads of functions with their bodies."""
_TEXTS = (*(head + body for head, body in FUNCTIONS), "### Instruction:\n### Response:\n```python\n\n```\n</s>")
_SPECIAL = ["<unk>", "<s>", "</s>"]


@cache
def _byte_level(texts: tuple[str, ...] = _TEXTS, size: int = 420) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=size, special_tokens=_SPECIAL[1:], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        ),
    )
    return tokenizer


@cache
def _sentencepiece(texts: tuple[str, ...] = _TEXTS, size: int = 460) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges by SentencePiece's rules: line breaks are single bytes, spaces are part of words."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    words = Regex(r"▁?[A-Za-z]+|▁+(?=▁)|▁|\d|[^▁A-Za-z\d]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\n"), "removed"),
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="never", split=False),
            pre_tokenizers.Split(words, "isolated"),
        ]
    )
    single_bytes = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, special_tokens=[*_SPECIAL, *single_bytes])
    )
    table = json.loads(tokenizer.to_str())["model"]
    return table["vocab"], [tuple(pair) for pair in table["merges"]]


def byte_level() -> PreTrainedTokenizerBase:
    """As most models since GPT-2."""
    return PreTrainedTokenizerFast(tokenizer_object=_byte_level(), bos_token="<s>", eos_token="</s>")


def codegen(texts: tuple[str, ...] = _TEXTS, size: int = 420) -> PreTrainedTokenizerBase:
    """CodeGen's class, whose beginning and end token are one."""
    table = json.loads(_byte_level(texts, size).to_str())["model"]
    merges = [tuple(pair) for pair in table["merges"]]
    names = dict.fromkeys(("unk_token", "bos_token", "eos_token"), "</s>")
    return CodeGenTokenizer(vocab=table["vocab"], merges=merges, **names)


def appending() -> PreTrainedTokenizerBase:
    """One that puts <s> before and </s> behind whatever it encodes."""
    tokenizer = Tokenizer.from_str(_byte_level().to_str())
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(token, tokenizer.token_to_id(token)) for token in _SPECIAL[1:]]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def codellama(texts: tuple[str, ...] = _TEXTS, size: int = 460) -> PreTrainedTokenizerBase:
    """CodeLlama's class without infilling, as its Python models have it."""
    vocabulary, merges = _sentencepiece(texts, size)
    unused = dict.fromkeys(["prefix_token", "middle_token", "suffix_token", "eot_token", "fill_token"])
    return CodeLlamaTokenizer(vocab=vocabulary, merges=merges, **unused)


def llama() -> PreTrainedTokenizerBase:
    """Llama's class, with a space before what it encodes."""
    vocabulary, merges = _sentencepiece()
    return LlamaTokenizer(vocab=vocabulary, merges=merges)


def llama_without_space() -> PreTrainedTokenizerBase:
    """Llama's class, without a space before what it encodes."""
    vocabulary, merges = _sentencepiece()
    return LlamaTokenizer(vocab=vocabulary, merges=merges, add_prefix_space=False)


def llama_legacy() -> PreTrainedTokenizerBase:
    """Llama's published tokenizer.json, which puts the space there before it looks at the text."""
    vocabulary, merges = _sentencepiece()
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", vocabulary["<s>"])]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def t5() -> PreTrainedTokenizerBase:
    """T5's class, which writes neither line breaks nor indentation."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    special = ["<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(
        _TEXTS, trainers.UnigramTrainer(vocab_size=150, special_tokens=special, unk_token="<unk>")
    )
    table = json.loads(tokenizer.to_str())["model"]["vocab"]
    return T5Tokenizer(vocab=[tuple(pair) for pair in table], extra_ids=4)


def codet5p(texts: tuple[str, ...] = _TEXTS, size: int = 420, *, strips: bool = False) -> PreTrainedTokenizerBase:
    """CodeT5+'s class, RoBERTa's: <s> before and </s> behind what it encodes, and T5's sentinels.

    Args:
        texts: to train on.
        size: of the vocabulary.
        strips: the sentinels take the white space before them.
    """
    table = json.loads(_byte_level(texts, size).to_str())["model"]
    merges = [tuple(pair) for pair in table["merges"]]
    sentinels = [AddedToken(f"<extra_id_{index}>", lstrip=strips, special=True) for index in range(3)]
    tokenizer = RobertaTokenizer(vocab=table["vocab"], merges=merges, additional_special_tokens=sentinels)
    tokenizer.backend_tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", tokenizer.eos_token_id), ("<s>", tokenizer.bos_token_id), add_prefix_space=False
    )
    return tokenizer


DECODERS: dict[str, Callable[[], PreTrainedTokenizerBase]] = {
    function.__name__: function
    for function in (byte_level, codegen, appending, codellama, llama, llama_without_space, llama_legacy)
}
"""Tokenizers of models that write behind their prompt."""
