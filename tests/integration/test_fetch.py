"""Downloads ahead of a sweep, from a server on this machine that answers as the hub does."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from peft_study.cli.fetch.command import main
from peft_study.cli.fetch.needs import WEIGHTS, matches, merged, needs_of
from peft_study.cli.fetch.table import DATASET, MODEL
from peft_study.config.compose import compose_cell
from peft_study.models import tiny
from tests.conftest import PAIRS

TOKEN = "hf_abcdefghijklmnopqrstuvwxyz012345"
PULL_REQUESTS = {"somebody": 1, "SFconvertbot": 2}
API = re.compile(r"/api/(?P<kind>models|datasets)/(?P<id>[^/]+/[^/]+)(?:/(?P<what>[a-z-]+)(?:/(?P<rest>.*))?)?")
FILE = re.compile(r"/(?P<kind>datasets/)?(?P<id>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)")

Files = Mapping[str, bytes]


@dataclass
class Hub:
    """What the server holds, and what it was asked for.

    Attributes:
        repositories: files by kind ("models" or "datasets"), id and revision.
        gated: ids that are listed for everybody and given to nobody.
        sizes: sizes that are told in place of the true ones, by file name.
        broken_off: ids of which the next large file ends in the middle.
        overloaded: ids of which the next listing is refused.
        slow: whether large files come so slowly that they never end.
        requests: method, path and range of each request.
    """

    repositories: dict[tuple[str, str, str], Files]
    gated: set[str] = field(default_factory=set)
    sizes: dict[str, int] = field(default_factory=dict)
    broken_off: set[str] = field(default_factory=set)
    overloaded: set[str] = field(default_factory=set)
    slow: bool = False
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    url: str = ""

    def find(self, kind: str, name: str, revision: str) -> tuple[str, Files] | None:
        """The commit and the files of a revision, which may itself be a commit."""
        for (known_kind, known_name, known_revision), files in self.repositories.items():
            commit = hashlib.sha1(f"{known_kind} {known_name} {known_revision}".encode()).hexdigest()
            if (known_kind, known_name) == (kind, name) and revision in (known_revision, commit):
                return commit, files
        return None

    def downloads(self) -> set[str]:
        """The files that were asked for, not only about."""
        return {path.rpartition("/")[2] for method, path, _ in self.requests if method == "GET" and "/resolve/" in path}


class Handler(BaseHTTPRequestHandler):
    """The endpoints that huggingface_hub and datasets call."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        """Nothing on the standard error stream."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        self.hub.requests.append((self.command, unquote(address.path), self.headers.get("Range")))
        # A revision such as refs/pr/1 comes as one quoted part.
        api, file = API.fullmatch(address.path), FILE.fullmatch(address.path)
        if api:
            self.answer_api(api, {name: values[0] for name, values in parse_qs(address.query).items()})
        elif file:
            self.answer_file(file)
        else:
            self.refuse(404, "EntryNotFound")

    def answer_api(self, asked: re.Match[str], query: Mapping[str, str]) -> None:
        kind, name, what = asked["kind"], asked["id"], asked["what"]
        revision, _, folder = (asked["rest"] or "main").partition("/")
        found = self.hub.find(kind, name, unquote(revision))
        if what == "discussions":
            return self.answer(discussions(name, query["author"]))
        if what == "auth-check" and name in self.hub.gated:
            return self.refuse(403, "GatedRepo")
        if found is None:
            known = any(key[:2] == (kind, name) for key in self.hub.repositories)
            return self.refuse(404, "RevisionNotFound" if known else "RepoNotFound")
        if name in self.hub.overloaded:
            self.hub.overloaded.remove(name)
            return self.refuse(503, "")
        commit, files = found
        if what == "tree":
            return self.answer(tree(files, folder))
        siblings = [
            {"rfilename": path, "size": self.hub.sizes.get(path, len(content)), "blobId": git_hash(content)}
            for path, content in files.items()
        ]
        gated = "manual" if name in self.hub.gated else False
        return self.answer({"_id": "1", "id": name, "sha": commit, "gated": gated, "siblings": siblings})

    def answer_file(self, asked: re.Match[str]) -> None:
        kind = (asked["kind"] or "models/").rstrip("/")
        found = self.hub.find(kind, asked["id"], unquote(asked["revision"]))
        if found is None:
            return self.refuse(404, "RepoNotFound")
        commit, files = found
        name = unquote(asked["name"])
        if name not in files:
            return self.refuse(404, "EntryNotFound", {"X-Repo-Commit": commit})
        content, headers = files[name], {"ETag": f'"{git_hash(files[name])}"', "X-Repo-Commit": commit}
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self.send(206 if start else 200, content[start:], headers, large=asked["id"])

    def answer(self, value: object) -> None:
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def refuse(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
        self.send(status, b"", {"X-Error-Code": code, **(headers or {})})

    def send(self, status: int, body: bytes, headers: Mapping[str, str], large: str = "") -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if large and len(body) > 1_000_000 and (large in self.hub.broken_off or self.hub.slow):
            self.hub.broken_off.discard(large)
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            while self.hub.slow:
                time.sleep(0.05)
        else:
            self.wfile.write(body)


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def tree(files: Files, folder: str) -> list[dict[str, object]]:
    """The entries of a folder, as the hub lists them without `recursive`."""
    prefix = f"{folder}/" if folder else ""
    below = sorted(path.removeprefix(prefix) for path in files if path.startswith(prefix))
    folders = dict.fromkeys(path.partition("/")[0] for path in below if "/" in path)
    found: list[dict[str, object]] = [
        {"type": "directory", "path": prefix + name, "size": 0, "oid": "0" * 40} for name in folders
    ]
    for path in below:
        if "/" not in path:
            content = files[prefix + path]
            found.append({"type": "file", "path": prefix + path, "size": len(content), "oid": git_hash(content)})
    return found


def discussions(name: str, author: str) -> dict[str, object]:
    """The pull requests of an account; one by somebody else slips through the filter."""
    found = [
        {
            "title": "Adding `safetensors` variant of this model",
            "num": number,
            "author": {"name": account},
            "createdAt": "2024-01-01T00:00:00.000Z",
            "status": "open",
            "repo": {"name": name, "type": "model"},
            "isPullRequest": True,
        }
        for account, number in PULL_REQUESTS.items()
    ]
    assert author == "SFconvertbot"
    return {"count": len(found), "start": 0, "discussions": found}


def model_files() -> dict[str, bytes]:
    """tiny-llama as a repository of the hub, with what must never be downloaded."""
    shipped = [tiny.FOLDER / name for name in ("tokenizer.json", "tokenizer_config.json")]
    shipped += [tiny.FOLDER / "tiny-llama" / name for name in ("config.json", "model.safetensors")]
    evil = {"pytorch_model.bin": b"pickle", "modeling.py": b"raise SystemExit", "onnx/model.safetensors": b"large"}
    return {path.name: path.read_bytes() for path in shipped} | evil


def data_files() -> dict[str, bytes]:
    lines = "".join(json.dumps({"nl": nl, "cmd": cmd}) + "\n" for nl, cmd in PAIRS).encode()
    return {f"data/{split}.jsonl": lines for split in ("train", "validation", "test")} | {"data.txt": b"not data"}


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub with sound and other repositories."""
    model, data = model_files(), data_files()
    pickled = {"config.json": model["config.json"], "pytorch_model.bin": b"pickle"}
    hub = Hub(
        {
            ("models", "someone/tiny", "main"): model,
            # Larger than the pieces of 10 MiB in which a file is written.
            ("models", "someone/large", "v2"): {"model.safetensors": os.urandom(24_000_000)},
            ("models", "someone/gated", "main"): model,
            ("models", "someone/pickled", "main"): pickled,
            ("models", "someone/pickled", "refs/pr/1"): model,
            ("models", "someone/pickled", "refs/pr/2"): model,
            ("datasets", "someone/data", "v1"): data,
        },
        gated={"someone/gated"},
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield hub
    hub.slow = False
    server.shutdown()
    thread.join()
    server.server_close()


def environment(home: Path, url: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower() and "HF_" not in name}
    return kept | {"HF_HOME": str(home), "HF_ENDPOINT": url, "HF_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"}


def start(hub: Hub, home: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "peft_study", "fetch", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(home, hub.url),
    )


def fetch(hub: Hub, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    process = start(hub, home, *arguments)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert TOKEN not in out + err
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def weights(*sources: str) -> list[str]:
    return ["model=tiny-llama", f"model.source={','.join(sources)}", "model.tokenizer=tiny"]


def cached(home: Path) -> set[str]:
    return {path.name for path in (home / "hub").rglob("snapshots/*/*") if not path.is_dir()}


MODEL_OF_HUB = ["model=tiny-llama", "model.source=someone/tiny", "model.tokenizer=null"]
DATA = ["dataset.hub_id=someone/data", "dataset.revision=v1"]
DATA_OF_HUB = ["dataset=codealpacapy", *DATA, "dataset.validation_split=validation"]
CONVERTED = "refs/convert/parquet"
RANDOM = ["dataset=minipy", "model.weights=random"]
RETRIEVAL = ["method.examples=nearest", "method.num_examples=2", "method.retriever=a/retriever"]


def test_a_cell_runs_without_a_network_from_what_was_fetched(hub: Hub, tmp_path: Path) -> None:
    home = tmp_path / "home"

    first = fetch(hub, home, *MODEL_OF_HUB, *DATA_OF_HUB)
    second = fetch(hub, home, *MODEL_OF_HUB, *DATA_OF_HUB, "--json", "--dry-run")

    assert first.returncode == 0, first.stderr
    assert not {"pytorch_model.bin", "modeling.py", "data.txt"} & hub.downloads()
    assert cached(home) == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert second.returncode == 0, second.stderr
    model, data = json.loads(second.stdout)["repositories"]
    assert (model["repository"], model["missing_bytes"], len(model["files"])) == ("someone/tiny", 0, 4)
    assert (data["revision"], data["missing_bytes"], len(data["files"])) == ("v1", 0, 3)
    offline = environment(home, "http://127.0.0.1:9") | {"HF_HUB_OFFLINE": "1"}
    small = ["method=zero-shot", "dataset.limit=2", "dataset.max_new_tokens=2", "hardware=cpu"]
    beams = ["generation.num_beams=1", "generation.num_candidates=1"]
    ran = subprocess.run(
        [sys.executable, "-m", "peft_study", *MODEL_OF_HUB, *DATA_OF_HUB, *small, *beams],
        cwd=tmp_path,
        env=offline,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    (result,) = (tmp_path / "multirun").glob("single/*/result.json")
    assert json.loads(result.read_text())["status"] == "ok"


def test_data_named_by_files_can_be_read_without_a_network(hub: Hub, tmp_path: Path) -> None:
    files = [f"dataset.hub_files.{split}=data/{split}.jsonl" for split in ("train", "validation", "test")]

    ended = fetch(hub, tmp_path, "model=tiny-llama", "dataset=conala", *DATA, *files)

    assert ended.returncode == 0, ended.stderr


def test_what_cannot_be_had_keeps_nothing_else_from_being_fetched(hub: Hub, tmp_path: Path) -> None:
    sources = ["someone/gated", "someone/missing", "someone/pickled", "someone/tiny"]

    ended = fetch(hub, tmp_path, *weights(*sources))

    assert ended.returncode == 1
    assert cached(tmp_path) == {"config.json", "model.safetensors"}
    assert "3 of 4 repositories are not available" in ended.stderr
    gated = "someone/gated is gated: its owner grants access\n  where: model tiny-llama\n  try:   ask on "
    assert f"{gated}{hub.url}/someone/gated, then hf auth login" in ended.stderr
    assert "someone/missing does not exist, or is private" in ended.stderr
    assert "someone/pickled has no weights as safetensors" in ended.stderr
    assert "model.revision=refs/pr/2 " in ended.stderr
    assert [line.split()[:3] for line in ended.stdout.splitlines() if line.startswith("someone/gated")] == [
        ["someone/gated", "tiny-llama", "-"]
    ]


def test_a_dry_run_downloads_nothing(hub: Hub, tmp_path: Path) -> None:
    ended = fetch(hub, tmp_path, *weights("someone/pickled"), "model.revision=refs/pr/2", "--dry-run")

    assert ended.returncode == 0, ended.stderr
    assert "someone/pickled@refs/pr/2" in ended.stdout
    assert re.search(r"total +2 3\.0 MB +0 B +3\.0 MB", ended.stdout), ended.stdout
    assert not hub.downloads()
    assert not (tmp_path / "hub").exists()


def test_a_broken_connection_is_taken_up_again(hub: Hub, tmp_path: Path) -> None:
    hub.broken_off = {"someone/large"}
    hub.overloaded = {"someone/large"}

    ended = fetch(hub, tmp_path, *weights("someone/large"), "model.revision=v2")

    assert ended.returncode == 0, ended.stderr
    assert "retrying in 1 s" in ended.stderr
    assert [ranges for method, _, ranges in hub.requests if method == "GET" and ranges] == ["bytes=10485760-"]
    (whole,) = tmp_path.rglob("snapshots/*/model.safetensors")
    assert whole.read_bytes() == hub.repositories["models", "someone/large", "v2"]["model.safetensors"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_download_goes_on(hub: Hub, tmp_path: Path, number: int, code: int) -> None:
    hub.slow = True
    process = start(hub, tmp_path, *weights("someone/tiny"))
    deadline = time.monotonic() + 30
    while "model.safetensors" not in hub.downloads() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)

    process.send_signal(number)
    _, err = process.communicate(timeout=30)

    assert process.returncode == code, err
    assert "the same command resumes" in err
    assert cached(tmp_path) == {"config.json"}
    assert not list(tmp_path.rglob("*.incomplete"))
    if number == signal.SIGINT:
        hub.slow = False
        hub.requests.clear()
        assert fetch(hub, tmp_path, *weights("someone/tiny")).returncode == 0
        assert hub.downloads() == {"model.safetensors"}


def test_too_small_a_disk_is_said_before_anything_is_downloaded(hub: Hub, tmp_path: Path) -> None:
    hub.sizes = {"model.safetensors": 10**17}

    ended = fetch(hub, tmp_path, *weights("someone/tiny"))

    assert ended.returncode == 2
    assert "105000.0 TB are needed" in ended.stderr
    assert str(tmp_path / "hub") in ended.stderr
    assert "HF_HOME" in ended.stderr
    assert not hub.downloads()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["model=tiny-llama,tiny-t5"], 0, "nothing is needed from the hub"),
        (["model=codet5p-220m", "dataset=minipy"], 2, "HF_HUB_OFFLINE must be 0"),
        (["model=codet5p-20m"], 2, "did you mean 'codet5p-220m'"),
        (["model=codellama-7b", "method=full"], 2, "got codellama-7b"),
    ],
)
def test_without_a_network(arguments: list[str], code: int, said: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == code
    assert said in capfd.readouterr().err


def test_a_hub_out_of_reach_is_said_at_once(hub: Hub, tmp_path: Path) -> None:
    hub.url = "http://127.0.0.1:9"

    ended = fetch(hub, tmp_path, *weights("someone/tiny"))

    assert ended.returncode == 2
    assert "the hub cannot be reached" in ended.stderr


@pytest.mark.parametrize(
    ("overrides", "needed"),
    [
        (["model=tiny-llama"], {}),
        (["model=codellama-7b", "dataset=minipy"], {"codellama/CodeLlama-7b-hf": (MODEL, None, True)}),
        (["model=codet5p-220m", *RANDOM], {"Salesforce/codet5p-220m": (MODEL, None, False)}),
        (["model=codet5p-220m", *RANDOM, "model.tokenizer=tiny"], {}),
        (
            ["model=tiny-llama", "model.source=a/b", "model.revision=v2", "model.tokenizer=c/d"],
            {"a/b": (MODEL, "v2", True), "c/d": (MODEL, None, False)},
        ),
        (["model=tiny-llama", "dataset=conala"], {"neulab/docprompting-conala": (DATASET, CONVERTED, False)}),
        (["model=tiny-llama", "method=rag", *RETRIEVAL], {"a/retriever": (MODEL, None, True)}),
        (["model=tiny-llama", "method=rag", *RETRIEVAL, "method.retriever=tfidf"], {}),
    ],
)
def test_a_cell_needs_what_it_names(overrides: list[str], needed: dict[str, Any]) -> None:
    needs = merged(needs_of(compose_cell(overrides)))

    assert {need.repository: (need.kind, need.revision, WEIGHTS in need.essential) for need in needs} == needed
    assert all((WEIGHTS in need.patterns) == (WEIGHTS in need.essential) for need in needs)


def test_a_repository_that_several_cells_need_is_fetched_once() -> None:
    cells = [compose_cell(["model=codellama-7b", "dataset=minipy", f"seed={seed}"]) for seed in (1, 2)]
    cells += [compose_cell(["model=tiny-llama", "model.tokenizer=codellama/CodeLlama-7b-hf"])]

    (need,) = merged(need for cell in cells for need in needs_of(cell))

    assert need.uses == ("codellama-7b", "tiny-llama (tokenizer)")
    assert max(Counter(need.patterns).values()) == 1


@pytest.mark.parametrize(
    ("path", "pattern", "meant"),
    [
        ("model.safetensors", "*.safetensors", True),
        ("onnx/model.safetensors", "*.safetensors", False),
        ("1_Pooling/config.json", "[0-9]_*/*.json", True),
        ("data/train/0.parquet", "data/train/*.parquet", True),
        ("data/train/more/0.parquet", "data/train/*.parquet", False),
        ("train.jsonl", "**/*.json*", True),
        ("data/train/0.parquet", "data/**/*.parquet", True),
        ("data/train.py", "**/*.json*", False),
    ],
)
def test_patterns_keep_to_folders(path: str, pattern: str, meant: bool) -> None:
    assert matches(path, pattern) is meant
