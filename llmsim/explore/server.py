"""The server of the page: on this machine only, for the page that it has given out only."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from llmsim.errors import InputError
from llmsim.explore.answers import Question
from llmsim.explore.page import explore_page

LOOPBACK = "127.0.0.1"
#: a question is a few keys and values
MOST_BYTES = 100_000
#: saves the scenario with some values under a name; returns the file
Save = Callable[[Mapping[str, Any], str], str]


class Explorer(ThreadingHTTPServer):
    """Answers the questions of one page. Another page that finds the port has no token, and gets nothing."""

    daemon_threads = True

    def __init__(self, question: Question, save: Save, port: int = 0) -> None:
        self.question, self.save = question, save
        self.token = secrets.token_urlsafe(16)
        self.one_at_a_time = threading.Lock()
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except OSError as error:
            raise InputError(f"--port {port}: {error.strerror}") from None

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{LOOPBACK}:{self.server_address[1]}/"


class _Handler(BaseHTTPRequestHandler):
    server: Explorer

    def do_GET(self) -> None:
        if self.path != "/" or not self._from_here():
            self._send(HTTPStatus.NOT_FOUND, "text/plain", "nothing here")
            return
        self._send(HTTPStatus.OK, "text/html", explore_page(self.server.question, self.server.token))

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        asked = self.headers.get("X-Llmsim-Token") == self.server.token and self._from_here()
        if not asked or not 0 < size <= MOST_BYTES or self.path not in ("/answer", "/save"):
            self._send(HTTPStatus.FORBIDDEN, "text/plain", "not for you")
            return
        try:
            body = json.loads(self.rfile.read(size))
            found = self._found(body)
        except (ValueError, KeyError, TypeError, AttributeError):
            found = {"error": "expected values by key"}
        self._send(HTTPStatus.OK, "application/json", json.dumps(found))

    def _found(self, body: Mapping[str, Any]) -> dict[str, Any]:
        values = dict(body["values"])
        if self.path == "/answer":
            with self.server.one_at_a_time:
                return self.server.question.answer(values)
        try:
            return {"saved": self.server.save(values, str(body["name"]))}
        except InputError as error:
            return {"error": str(error)}

    def _from_here(self) -> bool:
        """Whether the browser was asked for this address, and not for a name that leads to it."""
        return self.headers.get("Host") in {
            f"{name}:{self.server.server_address[1]}" for name in (LOOPBACK, "localhost")
        }

    def _send(self, status: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the page shows what happens."""


def serve(explorer: Explorer) -> None:
    """Answer until Ctrl-C."""
    try:
        explorer.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        explorer.server_close()
