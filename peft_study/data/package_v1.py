"""How the study's replication package changed a candidate before scoring (November 2023, in its test script)."""

import re

# The pattern was meant to end a candidate at "<|endoftext|>"; unescaped, the bars separate alternatives.
_END = re.compile(r"<|endoftext|>")
# In the order of transformers' `clean_up_tokenization`, which its tokenizers applied unless told otherwise.
# It changes perfect candidates (docs/differences.md), so it applies only under conventions of the package.
_SPACED = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")


def cut_at_angle_brackets(candidate: str) -> str:
    """The text before the first "<", ">" or "endoftext"."""
    return _END.split(candidate, maxsplit=1)[0]


def clean_up_spaces(candidate: str) -> str:
    """The text without the spaces around an apostrophe and before punctuation and contractions."""
    for spaced in _SPACED:
        candidate = candidate.replace(spaced, spaced.strip())
    return candidate
