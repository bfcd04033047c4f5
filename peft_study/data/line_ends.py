"""Line ends: a carriage return is a line break, both alone and before a line feed."""

import re

LINE_END = r"(?:\r\n?|\n)"
"""A regular expression of one line break."""
_OTHER = re.compile(r"\r\n?")


def with_line_feeds(text: str) -> str:
    """Replace every line break by a line feed, as Python does with source files."""
    return _OTHER.sub("\n", text)
