"""A file server of this machine that knows Range and If-Range, and misbehaves when told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Host(ThreadingHTTPServer):
    """One file at every address. requests: the (Range, If-Range) of each."""

    daemon_threads = True
    content = b""
    tag = '"v1"'
    drop_after: int | None = None  # bytes after which the connection breaks, each time
    status: int | None = None  # refuse with this
    failures = 0  # so many requests are refused with `status`, then no more; 0: all
    ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str | None, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file.bin"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        host = self.server
        assert isinstance(host, Host)
        host.requests.append((self.headers["Range"], self.headers["If-Range"]))
        if host.status and (not host.failures or len(host.requests) <= host.failures):
            self.send_error(host.status)
            return
        start = 0
        if host.ranges and self.headers["Range"] and self.headers["If-Range"] in (None, host.tag):
            start = int(self.headers["Range"].removeprefix("bytes=").partition("-")[0])
            if start >= len(host.content):
                self.send_error(416)
                return
        body = host.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(host.content) - 1}/{len(host.content)}")
        if host.tag:
            self.send_header("ETag", host.tag)
        self.end_headers()
        self.wfile.write(body if host.drop_after is None else body[: host.drop_after])

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving(content: bytes) -> Iterator[Host]:
    """A host of this content, in a thread."""
    host = Host()
    host.content = content
    thread = threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield host
    finally:
        host.shutdown()
        host.server_close()
        thread.join()
