"""Render the report of the demo results as docs/report.png: `python scripts/report_picture.py`.

Needs Chromium: the path in PEFT_STUDY_CHROMIUM, or the Chromium that Playwright finds.
"""

import argparse
import io
import os
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from peft_study.cli.report import report

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "report.png"
WIDTH, HEIGHT = 1180, 1000
COLORS = 64
"""Size of the palette. Fewer colors keep the picture small enough for the repository."""


def main() -> None:
    """Write the picture."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        out = Path(folder) / "report"
        report([str(ROOT / "docs" / "demo_results")], out, with_samples=False)
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("PEFT_STUDY_CHROMIUM"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto((out / "index.html").as_uri())
        page.wait_for_selector(".js-plotly-plot")
        page.wait_for_timeout(1_000)
        picture = Image.open(io.BytesIO(page.screenshot()))
        picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=COLORS).save(PICTURE, optimize=True)
        browser.close()
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1e3:.0f} kB", file=sys.stderr)


if __name__ == "__main__":
    main()
