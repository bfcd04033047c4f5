"""The page as one HTML document that needs nothing from anywhere.

Whatever a model wrote, a person named or a log says is data: JSON in a script element that no browser runs, with every
`<` escaped, which the page's script turns into text nodes. Should a mistake ever let markup through, the policy in the
document's head keeps it from doing anything: only scripts with the hashes of ours run, and what those load; nothing is
fetched from a network; where a browser knows Trusted Types, no string can become markup or the address of a script.
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
    *(
        "elements",
        "format",
        "rows",
        "lines",
        "leaderboard",
        "details",
        "tables",
        "claims",
        "states",
        "names",
        "figures",
        "diff",
        "samples",
    ),
    *("explorer", "main"),
)
"""In the order in which they are put together; each uses what stands before it."""


def write_page(folder: Path, contents: Contents) -> Path:
    """Write index.html.

    Args:
        folder: where it goes; the files that `contents` links to lie there.
        contents: what it shows.

    Returns:
        the file.
    """
    file = folder / INDEX
    write_atomically(file, document(contents.title, contents.to_json()))
    return file


def document(title: str, data: Mapping[str, Any]) -> str:
    """The whole document.

    Args:
        title: of the page, any text.
        data: plain containers, see `Contents.to_json`.
    """
    from plotly.offline import get_plotlyjs

    script = '(() => {\n"use strict";\n' + "\n".join(_asset(f"{name}.js") for name in SCRIPTS) + "\n})();"
    scripts = [_inline(get_plotlyjs()), _inline(script)]
    return string.Template(_asset("page.html")).substitute(
        title=html.escape(title),
        policy=html.escape(policy(scripts)),
        style=_asset("page.css"),
        data=embedded(data),
        plotly=scripts[0],
        script=scripts[1],
    )


def embedded(data: Any) -> str:
    """JSON that may stand in a script element: no `<`, which could end it, and nothing that is not ASCII.

    Raises:
        ValueError: a number is infinite or NaN, which JSON does not know.
    """
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def policy(scripts: list[str]) -> str:
    """The Content-Security-Policy of a page with these inline scripts.

    `strict-dynamic` lets a script of ours load the files of samples from wherever the page lies, a folder or a server,
    and allows nothing else an address. plotly sets styles on the elements that it makes.
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
    """A script as it may stand in a script element: what would end the element, or hide its end, is escaped."""
    # Within JavaScript both occur in strings, templates and regular expressions, where the escape means the same.
    return script.replace("</", "<\\/").replace("<!--", "<\\!--").replace("\r\n", "\n").replace("\r", "\n")


def _asset(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")
