"""The page on this machine alone, made anew when records have changed: `glimpse report SUITE --serve`.

    /           the page
    /version    of the data that it shows; an open page asks for it now and then, and loads itself again

It listens on 127.0.0.1, answers GET alone, and only under that name, so that no page of elsewhere can read it.
"""

from __future__ import annotations

import hashlib
import sys
import threading
import webbrowser
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glimpsebench.bench import escape
from glimpsebench.bench.report.page import page
from glimpsebench.bench.suites import read_suite
from glimpsebench.envs.errors import UsageError

if TYPE_CHECKING:
    from glimpsebench.bench.report import Page

HOST = "127.0.0.1"


class Server(ThreadingHTTPServer):
    """Serves one page.

    Args:
        shown: what to serve.
        port: 0 takes a free one.
    """

    daemon_threads = True

    def __init__(self, shown: Page, port: int = 0) -> None:
        super().__init__((HOST, port), _Handler)
        self.shown = shown
        self.lock = threading.Lock()
        self.kept = ("", b"")

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.server_port}/"

    def version(self) -> str:
        """Changes whenever a record, a judgement or an audit does."""
        seen = hashlib.sha256()
        for suite in self.shown.suites:
            for root in self.shown.roots_of(suite):
                for path in sorted([*root.glob("records/*/*/*/*"), *root.glob(f"{Path(suite).stem}/records/*/*/*/*")]):
                    if path.name == "record.json" or path.name.startswith(("judgement.", "audit.")):
                        with suppress(FileNotFoundError):  # a run that is just being replaced
                            seen.update(f"{path} {path.stat().st_mtime_ns}\n".encode())
        return seen.hexdigest()[:16]

    def content(self) -> bytes:
        """The page of the records as they are now."""
        with self.lock:
            version = self.version()
            if self.kept[0] != version:
                try:
                    text = page(self.shown.data(), f"{self.shown.command} --serve", live=version)
                except (UsageError, OSError) as error:  # no record yet, one that is damaged, or is just being replaced
                    text = _waiting(str(error))
                self.kept = version, text.encode()
            return self.kept[1]


def _waiting(why: str) -> str:
    """A page that says why there is none, and looks again."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="3">'
        f"<title>GlimpseBench</title><p>Nothing to show yet: {escape.html(why)}</p></html>"
    )


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version = "glimpse", ""

    def do_GET(self) -> None:
        host = self.headers.get("Host", "")
        if host not in (f"{HOST}:{self.server.server_port}", f"localhost:{self.server.server_port}"):
            self.send_error(421)
        elif self.path == "/":
            self._answer(self.server.content(), "text/html; charset=utf-8")
        elif self.path == "/version":
            self._answer(self.server.version().encode(), "text/plain; charset=utf-8")
        else:
            self.send_error(404)

    def _answer(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing: the terminal is the sweep's."""


def serve(shown: Page, port: int = 0, browse: bool = True) -> None:
    """Serve a page until Ctrl-C.

    Raises:
        UsageError: no such suite, or the port is taken.
    """
    for name in shown.suites:
        read_suite(name)
    try:
        server = Server(shown, port)
    except OSError as error:
        raise UsageError(f"--port {port}: {error.strerror}; without it a free one is taken") from None
    with server:
        print(f"{server.address}  (Ctrl-C ends it)", file=sys.stderr)
        if browse:
            webbrowser.open(server.address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(file=sys.stderr)
