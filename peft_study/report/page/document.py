"""The page as a self-contained HTML document.

- Texts from models, users and logs are data: JSON in a script element that browsers do not run, with every `<` escaped.
  The page's script turns them into text nodes.
- If markup got through by mistake, the policy in the document's head would make it harmless. Only scripts with our
  hashes run, and the scripts that those load. The page has no access to a network.
- In browsers with Trusted Types, a string cannot become markup or the address of a script.
"""

import base64
import hashlib
import html
import json
import string
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from peft_study.report.page.contents import Contents
from peft_study.results.store import write_atomically

INDEX = "index.html"
SCRIPTS = (
    *("elements", "format", "rows", "lines", "leaderboard", "details", "tables", "claims"),
    *("states", "names", "figures", "diff", "samples", "explorer", "main"),
)
"""In the order of the document; a script uses those before it."""


def write_page(folder: Path, contents: Contents) -> Path:
    """Write index.html.

    Args:
        folder: folder of the page, which has the files that `contents` links to.
        contents: contents of the page.

    Returns:
        The path of the page.
    """
    file = folder / INDEX
    write_atomically(file, document(contents.title, contents.to_json()))
    return file


def document(title: str, data: Mapping[str, Any]) -> str:
    """Make the whole document.

    Args:
        title: title of the page, any text.
        data: plain containers, as of `Contents.to_json`.
    """
    # Imported late, because only the page needs plotly, whose script has some megabytes.
    from plotly.offline import get_plotlyjs

    # One strict function, so that our names meet neither plotly's nor the browser's.
    script = '(() => {\n"use strict";\n' + "\n".join(_asset(f"{name}.js") for name in SCRIPTS) + "\n})();"
    scripts = [_inline(get_plotlyjs()), _inline(script)]
    # `substitute` does not look into what it inserts, so a dollar sign in a text stays.
    return string.Template(_asset("page.html")).substitute(
        title=html.escape(title),
        policy=html.escape(policy(scripts)),
        style=_asset("page.css"),
        data=embedded(data),
        plotly=scripts[0],
        script=scripts[1],
    )


def embedded(data: Any) -> str:
    """Convert data to ASCII JSON without `<`, which could end the script element around it.

    Raises:
        ValueError: a number is infinite or NaN, which JSON does not have.
    """
    # ASCII, so that the page reads the same whatever encoding a server names.
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def policy(scripts: list[str]) -> str:
    """Make the Content-Security-Policy of a page with these inline scripts.

    `strict-dynamic` lets our scripts load the files of samples, from a folder or a server, and nothing else. plotly
    needs `unsafe-inline` styles for the elements that it makes.
    """
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {allowed} 'strict-dynamic'",
            "style-src 'unsafe-inline'",
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types side-files",
        )
    )


def _inline(script: str) -> str:
    """Escape what would end a script element, or hide its end."""
    # JavaScript has both only in strings, templates and regular expressions, where the escaped form means the same.
    return script.replace("</", "<\\/").replace("<!--", "<\\!--").replace("\r\n", "\n").replace("\r", "\n")


def _asset(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")
