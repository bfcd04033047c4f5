"""The page in a real browser: what it shows, what it refuses to do, and that it needs nothing but its folder."""

import csv
import http.server
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from peft_study.report.figures import FIGURES
from peft_study.report.outward import escape_formula
from peft_study.report.page.contents import Contents
from peft_study.report.page.document import write_page
from peft_study.report.page.samples import read_samples, write_samples
from peft_study.report.read.rows import frame_of, load
from peft_study.report.study import Study
from peft_study.report.tables.paper import TABLES
from peft_study.results.schema import Status
from tests.report_cells import HOSTILE, drawing_of, prediction, table_of, write_cell

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
    # All in one process, which has the browser.
    pytest.mark.xdist_group("browser"),
]
MISSING = "\N{EN DASH}"
LARGEST_PAGE_BYTES = 30_000_000
ATTEMPTS = """(address) => new Promise((resolve) => setTimeout(() => {
  const script = (fill) => { const made = document.createElement("script"); fill(made); document.body.append(made); };
  const attempts = {
    markup: () => { document.body.innerHTML = "<img src=x onerror='window.hacked=1'>"; },
    script: () => script((made) => { made.textContent = "window.hacked=1"; }),
    address: () => script((made) => { made.src = `${address}/script.js`; }),
    evaluation: () => eval("window.hacked=1"),
    image: () => { new Image().src = `${address}/image`; },
    fetch: () => { fetch(`${address}/fetch`).catch(() => {}); },
  };
  const found = {};
  for (const [name, attempt] of Object.entries(attempts)) {
    try { attempt(); found[name] = "ran"; } catch (error) { found[name] = error.name; }
  }
  setTimeout(() => resolve({ ...found, hacked: window.hacked ?? null }), 500);
}))"""
"""What foreign markup or code would do; how far each comes."""
FORMULAS = ("=1+1", " =1", "\u200b=1", "\x1c@sum", "\u00ad-1", "\t1", "\ufeff+1", "\u2066=1", "a=1", "1-2", "\u00e9=1")
"""What a spreadsheet may or may not take for formulas."""


LONG = "y" * 3000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM)


@dataclass
class Opened:
    """A page that is open, and what it said and asked for meanwhile."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def texts(self, selector: str) -> list[str]:
        return self.page.locator(selector).all_inner_texts()

    def column(self, name: str) -> list[str]:
        """What the leaderboard shows in a column."""
        place = self.page.locator("#leaderboard thead th").evaluate_all(
            "(heads, name) => heads.findIndex((head) => head.dataset.column === name)", name
        )
        return self.texts(f"#leaderboard tbody tr > :nth-child({place + 1})")

    def choose(self, cell: str, side: str = "first") -> None:
        self.page.select_option(f"#explorer-{side}", label=cell)
        self.page.wait_for_selector(".sides.two .candidates" if side == "second" else ".candidates")


def opened(browser: Browser, address: str, **options: Any) -> Opened:
    found = Opened(browser.new_page(**options))
    found.page.set_default_timeout(30_000)
    found.page.on("console", lambda message: found.said.append(f"{message.type}: {message.text}"))
    found.page.on("pageerror", lambda error: found.said.append(f"error: {error}"))
    found.page.on("request", lambda request: found.asked.append(request.url))
    found.page.goto(address)
    found.page.wait_for_selector("html[data-ready]")
    return found


def boxes(page: Opened, selector: str) -> list[tuple[float, float, float, float]]:
    """Left, top, right and bottom of what is on the page, in pixels."""
    found = page.page.locator(selector).evaluate_all(
        "(all) => all.map((one) => one.getBoundingClientRect())"
        ".map(({ left, top, right, bottom }) => [left, top, right, bottom])"
    )
    return [tuple(box) for box in found]


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def write(folder: Path, frame: pd.DataFrame, *, drawn: Sequence[str] = (), **more: Any) -> Path:
    """The page of a frame with its samples, tables and some figures."""
    explored = [row for row, name in enumerate(frame["folder"]) if name and read_samples(Path(name))]
    for row in explored:
        write_samples(folder, row, read_samples(Path(frame["folder"][row])))
    return write_page(
        folder,
        Contents(
            **{"title": "Report: test", "subtitle": "a line", "made_at": "now", "made_by": "by", "sources": ["x"]},
            study=Study(frame),
            tables=[table_of(name, frame) for name in TABLES],
            drawings=[drawing_of(name, frame) for name in drawn],
            explored=explored,
            **more,
        ),
    )


SAMPLES = {
    "lora": [["xs.sort()", "b"], ["a", "xs.sort()"], ["a", "sorted(xs)"]],
    "ia3": [["a", "b"], ["xs.sort()", "b"], ["a", "b"]],
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of five cells."""
    folder = tmp_path_factory.mktemp("small")
    study = folder / "demo"
    # First, so that it does not come last by itself.
    write_cell(study, "full", em=None, status=Status.oom, reason="CUDA out of memory, tried 2 GB")
    for method, em in (("lora", 0.7), ("ia3", 0.2)):
        for seed in (1, 2):
            samples = [prediction(f"t-{place}", texts) for place, texts in enumerate(SAMPLES[method])]
            write_cell(study, method, seed, em=em + seed / 100, predictions=samples)
    frame = load([study]).frame.assign(commit="0123456789abcdef")
    return write(folder, frame, drawn=("quality-memory", "figure4"))


@pytest.fixture
def page(browser: Browser, small: Path) -> Iterator[Opened]:
    found = opened(browser, small.as_uri())
    yield found
    found.page.close()


def test_it_asks_for_nothing_and_complains_of_nothing(page: Opened, small: Path) -> None:
    for plot in page.page.locator(".plot").all():
        plot.scroll_into_view_if_needed()
        plot.locator(".main-svg").first.wait_for()

    assert page.asked == [small.as_uri()]
    assert page.said == []


def test_means_over_seeds_come_first_and_cells_on_demand(page: Opened) -> None:
    assert page.column("method") == ["lora", "ia3", "full"]
    # Each run's interval is 10 points wide, and the two runs are 1 point apart.
    assert page.column("em@1")[0].split() == ["71.5", f"66.4{MISSING}76.6"]
    assert page.column("status") == ["2 ok", "2 ok", "oom"]

    page.page.select_option("#leaderboard-rows", "cells")

    assert page.texts("#leaderboard-count") == ["5 of 5 cells"]
    assert [text.split()[0] for text in page.column("em@1")] == ["72.0", "71.0", "22.0", "21.0", MISSING]
    assert page.column("em@1")[0].split() == ["72.0", f"67.0{MISSING}77.0"]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page on which cells of one configuration differ in more than the seed, fail, and are scored on other data."""
    folder = tmp_path_factory.mktemp("mixed")
    for seed, em in ((1, 0.8), (2, 0.6), (9, 0.7)):
        write_cell(folder / "one", "lora", seed, em=em)
    write_cell(folder / "two", "lora", 1, em=0.2, cell_id="r64", adapter={"r": 64})
    write_cell(folder / "one", "full", 1, em=0.4)
    write_cell(folder / "one", "full", 5, em=0.9, status=Status.failed, reason="x")
    write_cell(folder / "one", "ia3", 1, em=0.9, predictions=[prediction("t-0", ["a"]), prediction("t-1", ["a"])])
    for place, name in enumerate(FORMULAS):
        write_cell(folder / "one", "prompt", model=name, cell_id=f"formula-{place}", dataset="other")
    frame = load([folder / "one", folder / "two"]).frame
    # The device is none of the settings.
    frame["device"] = [f"device {row}" for row in range(len(frame))]
    frame["train_seconds"] = 100 + frame["seed"]
    return write(folder, frame)


def test_a_row_is_what_the_tables_take_together(browser: Browser, mixed: Path) -> None:
    page = opened(browser, mixed.as_uri())
    page.page.fill("#leaderboard-search", "minipy")
    expect(page.page.locator("#leaderboard tbody tr")).to_have_count(4)
    names = page.column("model")

    assert page.column("method") == ["ia3", "lora", "full", "lora"]
    assert page.column("seed") == ["1", "1, 2, 9", "1, 5", "1"]
    assert [text.split()[0] for text in page.column("em@1")] == ["90.0", "70.0", "40.0", "20.0"]
    assert ["other settings" in name for name in names] == [False, False, False, True]
    assert ["on 2 test samples" in name for name in names] == [True, False, False, False]
    # On other samples, the best of its own.
    assert page.page.locator("#leaderboard td.best").all_inner_texts()[0].split()[0] == "90.0"
    # Training lasts 100 seconds and the seed: the median of three, and of the cells that ended well alone.
    assert page.column("train_seconds") == ["101 s", "102 s", "101 s", "101 s"]
    assert page.said == []
    page.page.close()


def test_a_saved_table_is_guarded_as_the_files_beside_the_page_are(browser: Browser, mixed: Path) -> None:
    page = opened(browser, mixed.as_uri())
    page.page.select_option("#filter-dataset", "other")
    with page.page.expect_download() as saved:
        page.page.get_by_text("Save as CSV").click()
    with saved.value.path().open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))

    assert sorted(row["model"] for row in found) == sorted(map(escape_formula, FORMULAS))
    page.page.close()


def test_sorting_goes_both_ways_and_keeps_what_is_missing_last(page: Opened) -> None:
    head = page.page.locator("th[data-column='em@1'] button")

    head.click()

    assert page.column("method") == ["ia3", "lora", "full"]
    assert page.page.locator("th[data-column='em@1']").get_attribute("aria-sort") == "ascending"
    head.click()
    assert page.column("method") == ["lora", "ia3", "full"]
    page.page.locator("th[data-column=method] button").click()
    assert page.column("method") == ["full", "ia3", "lora"]


def test_filters_narrow_it(page: Opened) -> None:
    page.page.select_option("#filter-method", "ia3")
    assert page.column("method") == ["ia3"]

    page.page.select_option("#filter-method", "")
    page.page.fill("#leaderboard-search", "OOM full")
    expect(page.page.locator("#leaderboard tbody tr")).to_have_count(1)
    assert page.column("method") == ["full"]


def test_a_row_opens_everything_about_its_cells(page: Opened) -> None:
    page.page.locator("#leaderboard tbody button.link").last.click()

    text = page.page.locator("#details").inner_text()

    assert "CUDA out of memory, tried 2 GB" in text
    assert "0123456789abcdef" in text


def test_states_list_what_did_not_end_well(page: Opened) -> None:
    assert "CUDA out of memory" in page.page.locator("#states").inner_text()


def test_two_cells_stand_side_by_side(page: Opened) -> None:
    page.choose("tiny-llama · lora · minipy · seed 1")
    page.choose("tiny-llama · ia3 · minipy · seed 1", "second")

    assert page.texts("#explorer-count") == ["3 of 3 samples"]
    for outcome, samples in {"first_only": ["t-0"], "second_only": ["t-1"], "neither": ["t-2"], "both": []}.items():
        page.page.select_option("#explorer-outcome", outcome)
        assert page.texts(".sample b") == samples
    page.page.select_option("#explorer-outcome", "neither")
    assert [text.strip() for text in page.texts(".side:first-child pre")] == ["xs.sort()a", "xs.sortsorted(xs)"]
    assert page.texts(".side:first-child ins")[0] == "a"
    page.page.select_option("#explorer-against", "other")
    assert page.texts(".side:first-child pre") == ["a", "sorted(xs)"]
    # The first candidates are the same; of the second all is another's.
    assert "".join(page.texts(".side:first-child ins")) == "sorted(xs)"


def test_a_missing_file_of_samples_is_said(browser: Browser, small: Path, tmp_path: Path) -> None:
    copied = tmp_path / "index.html"
    shutil.copy(small, copied)
    page = opened(browser, copied.as_uri())
    page.page.select_option("#explorer-first", label="tiny-llama · lora · minipy · seed 1")

    page.page.get_by_text("is not beside this page").wait_for()
    page.page.close()


def test_plots_have_the_drawings_values(page: Opened, small: Path) -> None:
    drawing = drawing_of("quality-memory", load([small.parent / "demo"]).frame).to_json()
    plot = page.page.locator("#figure-quality-memory .plot").first
    plot.scroll_into_view_if_needed()
    plot.locator(".main-svg").first.wait_for()

    found = plot.evaluate("(plot) => plot.data.map(({ name, x, y }) => ({ name, x: [...x], y: [...y] }))")

    series = drawing["panels"][0]["series"]
    assert [one["name"] for one in found] == [one["label"] for one in series]
    for one, drawn in zip(series, found, strict=True):
        assert drawn["x"] == pytest.approx(one["x"])
        assert drawn["y"] == pytest.approx(one["y"])


def test_a_point_opens_its_cells(page: Opened) -> None:
    plot = page.page.locator("#figure-quality-memory .plot").first
    plot.scroll_into_view_if_needed()
    point = plot.locator(".points path.point").first
    point.wait_for()
    box = point.bounding_box()
    assert box
    page.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    page.page.locator("#details[open] article").first.wait_for()
    assert page.said == []


def test_the_theme_changes_and_plots_follow(page: Opened) -> None:
    plot = page.page.locator("#figure-quality-memory .plot").first
    plot.scroll_into_view_if_needed()
    plot.locator(".main-svg").first.wait_for()
    colours = []
    for _ in range(2):
        page.page.click("#theme")
        page.page.wait_for_timeout(200)
        colours.append(
            (
                page.page.evaluate("getComputedStyle(document.body).backgroundColor"),
                plot.evaluate("(plot) => getComputedStyle(plot.querySelector('.xtick text')).fill"),
            )
        )

    assert page.page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert colours[0][0] != colours[1][0]
    assert colours[0][1] != colours[1][1]


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_window(browser: Browser, small: Path, width: int) -> None:
    page = opened(browser, small.as_uri(), viewport={"width": width, "height": 800})
    page.choose("tiny-llama · lora · minipy · seed 1")
    page.choose("tiny-llama · ia3 · minipy · seed 1", "second")

    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
    page.page.close()


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page whose figures have more bars, names and lines than fit, among them a name of 3,000 characters."""
    folder = tmp_path_factory.mktemp("crowded")
    study = folder / "demo"
    for number in range(12):
        model = f"model-of-some-length-{number}" if number else "x" * 3000
        for method, em in (("full", 0.5), ("lora", 0.52), ("icl", 0.51)):
            samples = [prediction(LONG, [LONG], verdicts={LONG: [[LONG]]}, scores={LONG: 1.0})] if not number else []
            settings = {"num_examples": 3} if method == "icl" else {}
            write_cell(
                study,
                method,
                model=model,
                em=em + number / 1000,
                metrics={"codebleu": em, LONG: em},
                predictions=samples,
                **settings,
            )
    return write(folder, load([study]).frame, drawn=("figure1", "figure5", "figure6"))


@pytest.mark.parametrize(("width", "narrowest_bar"), [(1280, 20), (400, 6)])
def test_crowded_figures_stay_readable(browser: Browser, crowded: Path, width: int, narrowest_bar: float) -> None:
    page = opened(browser, crowded.as_uri(), viewport={"width": width, "height": 900})
    for name in ("figure1", "figure6"):
        plot = page.page.locator(f"#figure-{name} .plot").first
        plot.scroll_into_view_if_needed()
        plot.locator(".main-svg").first.wait_for()
    bars = page.page.locator("#figure-figure1 .bars path").evaluate_all(
        "(bars) => bars.map((bar) => bar.getBBox().width)"
    )
    page.page.locator("#figure-figure6 .textpoint").first.wait_for()
    names = [box for box in boxes(page, "#figure-figure6 .textpoint") if box[0] < box[2]]
    frame = boxes(page, "#figure-figure6 .plot")[0]

    assert len(bars) == 24
    assert min(bars) >= narrowest_bar
    # Some names, none over another, none cut.
    assert 0 < len(names) < 24
    assert not [1 for place, one in enumerate(names) for other in names[place + 1 :] if overlap(one, other)]
    assert all(frame[0] <= left and right <= frame[2] for left, _, right, _ in names)
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.said == []
    page.page.close()


def test_a_name_of_thousands_of_characters_is_cut_and_told_in_whole(browser: Browser, crowded: Path) -> None:
    page = opened(browser, crowded.as_uri(), viewport={"width": 400, "height": 800})
    page.page.select_option("#explorer-first", index=1)
    page.page.wait_for_selector(".candidates")
    page.page.fill("#leaderboard-search", "xxx")
    expect(page.page.locator("#leaderboard tbody tr")).to_have_count(3)

    assert page.page.evaluate("document.documentElement.scrollWidth") <= 400
    widths = page.page.locator("#leaderboard th, #leaderboard td").evaluate_all(
        "(all) => all.map((one) => one.offsetWidth)"
    )
    assert max(widths) < 500
    link = page.page.locator("#leaderboard tbody button.link").first
    assert link.inner_text() == "x" * 35 + "…" + "x" * 12
    assert link.get_attribute("title") == "x" * 3000
    assert all(len(text) < 200 for text in page.page.locator("#explorer-first option").all_text_contents())
    page.page.close()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page on which every text is hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    study = folder / "</script><script>window.hacked=1"
    study = folder / "a" if "/" in study.name else study
    link = '<a href="javascript:window.hacked=1">x</a><a href="https://example.org"><i>y</i></a>'
    # Two methods, of which the first has replicates: the page looks up their intervals by the names of metrics.
    for method, seed in ((1, 1), (2, 2), (1, 3)):
        samples = [
            prediction(
                HOSTILE,
                [HOSTILE, link, "<b>bold</b>"],
                reference=f"{HOSTILE}!",
                scores={HOSTILE: 1.0, "__proto__": 1.0},
                verdicts={HOSTILE: [["pass", HOSTILE]] * 3},
            ),
            prediction("`${window.hacked=1}`", ["\u2028window.hacked=1//", "", "-->"]),
        ]
        write_cell(
            study,
            f"{link}{HOSTILE}{method}",
            seed,
            model=f"<b>{HOSTILE}",
            dataset=HOSTILE,
            predictions=samples,
            cell_id=f"{HOSTILE}{seed}",
            metrics={HOSTILE: 0.5, "__proto__": 0.5, "constructor": 0.25, "codebleu": 0.5},
        )
    write_cell(study, HOSTILE, 4, model=HOSTILE, status=Status.failed, reason=f"{HOSTILE}\n{link}", em=None)
    frame = load([study]).frame
    return write(folder, frame, drawn=tuple(FIGURES), against=HOSTILE)


def test_hostile_texts_stay_texts(browser: Browser, hostile: Path) -> None:
    page = opened(browser, hostile.as_uri())
    first = page.page.locator("#explorer-first option").nth(1).get_attribute("value")
    second = page.page.locator("#explorer-second option").nth(2).get_attribute("value")
    page.page.select_option("#explorer-first", first)
    page.page.wait_for_selector(".candidates")
    page.page.select_option("#explorer-second", second)
    page.page.wait_for_selector(".sides.two")
    for plot in page.page.locator(".plot").all():
        plot.scroll_into_view_if_needed()
        plot.locator(".main-svg").first.wait_for()
        for point in plot.locator(".points path").all()[:3]:
            point.hover(force=True)
    page.page.locator(".chooser summary").click()
    page.page.locator(".chooser input:not(:checked)").evaluate_all("(boxes) => boxes.forEach((box) => box.click())")
    page.page.locator("#leaderboard tbody button.link").first.click()

    assert page.page.evaluate("window.hacked") is None
    assert page.page.locator("img, iframe, object, body script[src], svg[onload]").count() == 0
    assert page.page.locator("a[href^='javascript'], a[*|href^='javascript']").count() == 0
    assert page.page.locator(".plot a, .plot tspan").count() == 0
    assert any(
        '<a href="javascript:window.hacked=1' in text for text in page.page.locator(".plot text").all_text_contents()
    )
    assert page.said == []
    assert all(address.startswith("file://") for address in page.asked)
    page.page.keyboard.press("Escape")
    page.page.select_option("#explorer-against", "none")
    assert page.texts(".side:first-child pre")[0] == HOSTILE
    assert HOSTILE in page.page.locator("#states").inner_text()
    page.page.close()


def test_the_policy_holds_where_markup_gets_in(browser: Browser, small: Path) -> None:
    """As if a mistake of ours had let a text become markup, script or an address."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        page = opened(browser, small.as_uri())
        # In a turn of its own, where the page's rules hold: a tool's evaluation stands outside of some of them.
        found = page.page.evaluate(ATTEMPTS, address)
        server.shutdown()

    assert found == {
        "markup": "TypeError",
        "script": "TypeError",
        "address": "TypeError",
        "evaluation": "EvalError",
        "image": "ran",
        "fetch": "ran",
        "hacked": None,
    }
    assert asked == []
    page.page.close()


def test_it_works_from_a_server_too(browser: Browser, small: Path) -> None:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(small.parent))

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = opened(browser, f"http://127.0.0.1:{server.server_port}/index.html")
        page.choose("tiny-llama · lora · minipy · seed 1")

        assert page.said == []
        page.page.close()
        server.shutdown()


def test_no_cell_at_all(browser: Browser, tmp_path: Path) -> None:
    page = opened(browser, write(tmp_path, frame_of([]), drawn=tuple(FIGURES)).as_uri())

    assert page.said == []
    assert "No cell was read" in page.page.locator("#leaderboard").inner_text()
    assert "No cell with predictions" in page.page.locator("#samples").inner_text()
    page.page.close()


def test_one_cell(browser: Browser, tmp_path: Path) -> None:
    write_cell(tmp_path / "study", predictions=[prediction("t-0", ["xs.sort()"])])
    page = opened(browser, write(tmp_path, load([tmp_path]).frame, drawn=tuple(FIGURES)).as_uri())
    page.choose("tiny-llama · lora · minipy · seed 1")

    assert page.column("method") == ["lora"]
    assert page.said == []
    page.page.close()


def test_five_thousand_cells(browser: Browser, tmp_path: Path) -> None:
    rows = [
        {
            **{"cell_id": f"model-{place % 50}_m{place % 10}_s{place}-{place:08x}", "study": "grid", "status": "ok"},
            **{"model": f"model-{place % 50}", "method": f"m{place % 10}", "quantization": "none", "dataset": "conala"},
            **{
                "seed": float(place),
                "num_examples": 0.0,
                "source": "grid",
                "peak_bytes": 1e9 + place * 1e5,
                "device": "cuda",
            },
            **{"train_seconds": 100.0 + place, "generate_seconds": 30.0, "memory_kind": "cuda_allocated"},
            **{"folder": None, "commit": "0123456789abcdef", "data_fingerprint": "f" * 64},
            **{f"em@{k}": (place * 7919 % 5000) / 5001 for k in range(1, 11)},
            **{f"em@{k}{end}": place / 5003 for k in range(1, 11) for end in ("_low", "_high")},
            **{f"score-{k}": place / 4999 for k in range(40)},
        }
        for place in range(5000)
    ]
    index = write(tmp_path, frame_of(rows), drawn=("quality-memory", "quality-time"))

    assert index.stat().st_size < LARGEST_PAGE_BYTES
    page = opened(browser, index.as_uri())
    page.page.select_option("#leaderboard-rows", "cells")
    assert page.texts("#leaderboard-count") == ["5,000 of 5,000 cells"]
    page.page.fill("#leaderboard-search", "s4321-")
    expect(page.page.locator("#leaderboard tbody tr")).to_have_count(1)
    assert page.column("seed") == ["4321"]
    assert page.said == []
    page.page.close()
