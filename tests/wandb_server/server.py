"""The stand-in's HTTP server."""

import contextlib
import gzip
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self
from urllib.parse import unquote

from tests.wandb_server.artifacts import store_file
from tests.wandb_server.faults import Fault, Faults, Kind, always
from tests.wandb_server.graphql import answer, operation_of
from tests.wandb_server.store import Run, Store


class WandbServer:
    """Serves on 127.0.0.1 while it is entered, and can die and return on the same port.

    Args:
        faults: what goes wrong.
    """

    def __init__(self, faults: Faults | None = None) -> None:
        self.store = Store()
        self.faults: Faults = faults or always(None)
        self.requests: list[str] = []
        self.bodies: list[bytes] = []
        self._port = 0
        self._listening: _Listening | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def run(self, name: str) -> Run:
        """The run with this id, in whatever project."""
        (run,) = [run for run in self.store.runs if run.name == name]
        return run

    def start(self) -> None:
        """Listen, on the same port as before."""
        self._listening = _Listening(("127.0.0.1", self._port), _Handler, self)
        self._port = self._listening.server_port
        self._thread = threading.Thread(target=self._listening.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def die(self) -> None:
        """Close every connection and the port. What is stored stays."""
        listening, thread, self._listening, self._thread = self._listening, self._thread, None, None
        if listening is not None and thread is not None:
            listening.dead.set()
            listening.shutdown()
            listening.close_connections()
            listening.server_close()
            thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.die()


class _Listening(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], owner: WandbServer) -> None:
        super().__init__(address, handler)
        self.owner = owner
        self.dead = threading.Event()
        self._connections: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that is killed closes its connection in the middle."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version: ClassVar[str] = "HTTP/1.1"
    server: _Listening

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        owner = self.server.owner
        name = self._name(body)
        with owner.store.lock:
            number = len(owner.requests)
            owner.requests.append(name)
            owner.bodies.append(body)
            fault = owner.faults(name, number)
        if fault is None or self._goes_on(fault):
            content = self._answer(body)
            if fault is not None and fault.kind is Kind.lost_answer:
                self._close()
            else:
                self._send(200, content)

    do_PUT = do_POST  # noqa: N815 - the names that http.server looks for
    do_GET = do_POST  # noqa: N815

    def _goes_on(self, fault: Fault) -> bool:
        """Whether the request is answered in spite of its fault."""
        if fault.kind is Kind.status:
            self._send(fault.status, {"error": "the stand-in was told to fail"})
        elif fault.kind is Kind.hang:
            self.server.dead.wait()
            self._close()
        elif fault.kind is Kind.dropped:
            self._close()
        elif fault.kind is Kind.late:
            time.sleep(fault.seconds)
        return fault.kind in {Kind.late, Kind.lost_answer}

    def _name(self, body: bytes) -> str:
        if self.path == "/graphql":
            return operation_of(json.loads(body)["query"])
        return "file_stream" if self.path.endswith("/file_stream") else self.command

    def _answer(self, body: bytes) -> dict[str, Any]:
        owner = self.server.owner
        parts = self.path.strip("/").split("/")
        if parts == ["graphql"]:
            request = json.loads(body)
            return answer(owner.store, request["query"], request.get("variables") or {}, owner.address)
        if parts[0] not in {"files", "uploads", "artifacts"}:
            return {}
        with owner.store.lock:
            if parts[0] == "artifacts":
                store_file(owner.store, parts[1], unquote("/".join(parts[2:])), body)
                return {}
            run = owner.store.find(*parts[1:4])
            if run is not None and parts[0] == "files":
                run.stream(json.loads(body))
            elif run is not None:
                run.files["/".join(parts[4:])] = body
        return {}

    def _send(self, status: int, content: dict[str, Any]) -> None:
        text = json.dumps(content).encode()
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    def _close(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        pass
