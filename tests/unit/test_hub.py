"""The hub out of reach: said at once, and only the cache used."""

import logging
import os
import socket
from collections.abc import Iterator

import pytest

from peft_study.config.compose import compose_cell
from peft_study.config.sources import needs_hub
from peft_study.models.hub import OFFLINE, use_cache_if_unreachable

SCHEMES = ("http", "https", "all", "no")


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A server on this machine that stands for the hub; no proxy, and no word about being offline."""
    for name in (
        OFFLINE,
        *(f"{scheme}_proxy" for scheme in SCHEMES),
        *(f"{scheme}_PROXY" for scheme in map(str.upper, SCHEMES)),
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(OFFLINE, "")
    monkeypatch.delenv(OFFLINE)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield server


@pytest.mark.usefixtures("listener")
def test_a_reachable_hub_is_used() -> None:
    use_cache_if_unreachable()

    assert OFFLINE not in os.environ


def test_an_unreachable_hub_leaves_the_cache(listener: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    listener.close()

    with caplog.at_level(logging.WARNING):
        use_cache_if_unreachable()

    assert os.environ[OFFLINE] == "1"
    assert "127.0.0.1" in caplog.text


def test_an_exception_from_a_proxy_is_no_proxy(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    listener.close()
    monkeypatch.setenv("NO_PROXY", "localhost")

    use_cache_if_unreachable()

    assert os.environ[OFFLINE] == "1"


@pytest.mark.usefixtures("listener")
@pytest.mark.parametrize("address", ["http://hub:port", "http://[hub", "hub.invalid"])
def test_an_address_that_cannot_be_used_is_named(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)

    with caplog.at_level(logging.WARNING):
        use_cache_if_unreachable()

    assert os.environ[OFFLINE] == "1"
    assert "hub" in caplog.messages[0].split(" cannot be reached")[0]


@pytest.mark.parametrize(("name", "value"), [(OFFLINE, "0"), ("https_proxy", "http://127.0.0.1:9")])
def test_what_a_person_set_stands(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    listener.close()
    monkeypatch.setenv(name, value)

    use_cache_if_unreachable()

    assert os.environ.get(OFFLINE) == (value if name == OFFLINE else None)


@pytest.mark.parametrize(
    ("overrides", "needed"),
    [
        (["model=tiny-llama"], False),
        (["model=tiny-t5", "model.weights=random"], False),
        (["model=tiny-llama", "dataset=conala"], True),
        (["model=tiny-llama", "dataset=conala", "dataset.path=/some/folder"], False),
        (["dataset.path=/some/folder"], True),
        (["dataset.path=/some/folder", "model.source=/tmp"], False),
        (["dataset.path=/some/folder", "model.weights=random", "model.tokenizer=tiny"], False),
    ],
)
def test_only_what_may_be_downloaded_asks_for_the_hub(overrides: list[str], needed: bool) -> None:
    assert needs_hub(compose_cell(overrides)) is needed
