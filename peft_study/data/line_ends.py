"""Line ends: a carriage return counts as a line break, alone and before a line feed."""

import re

LINE_END = r"(?:\r\n?|\n)"
"""A regular expression of one line break."""
_OTHER = re.compile(r"\r\n?")


def with_line_feeds(text: str) -> str:
    """A text with a line feed for every line break, as Python reads source files."""
    return _OTHER.sub("\n", text)
