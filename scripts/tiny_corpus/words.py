"""Words for invented wordings and names for invented code. The corpus gives them no fixed meaning."""

from pathlib import Path


def _read() -> dict[str, tuple[str, ...]]:
    """Read words.txt: a name in brackets, then its words."""
    lists: dict[str, list[str]] = {}
    words: list[str] = []
    for line in Path(__file__).with_name("words.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            words = lists.setdefault(line.strip("[]"), [])
        elif not line.startswith("#"):
            words.extend(line.split())
    return {name: tuple(words) for name, words in lists.items()}


LISTS = _read()
NOUNS = LISTS["nouns"]
ADJECTIVES = LISTS["adjectives"]
VERBS = LISTS["verbs"]
LINKERS = LISTS["linkers"]
IDENTIFIERS = LISTS["identifiers"]
NAMES = LISTS["names"]
METHODS = LISTS["methods"]
USUAL = LISTS["usual"]
KEYWORDS = LISTS["keywords"]
MODULES = LISTS["modules"]
COMMON = LISTS["common"]
"""Ordinary words of short instructions. The tokenizer should have a token for each."""


def lexicon() -> dict[str, int]:
    """Weigh every word for the tokenizer, in a fixed order."""
    weights = {word: 1 for words in (NOUNS, ADJECTIVES, VERBS, LINKERS, METHODS, NAMES, MODULES) for word in words}
    weights |= {word: 12 for words in (IDENTIFIERS, KEYWORDS, USUAL) for word in words}
    return weights | dict.fromkeys(COMMON, 24)
