"""A server for the built site that compresses what GitHub Pages compresses."""

import gzip
import io
import os
import re
from functools import lru_cache, partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

# by suffix, because the system's table of types differs from machine to machine
TYPES = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json", ".ipynb": "application/json", ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8", ".md": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
}  # fmt: skip
LEVEL = 6
GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))", re.IGNORECASE)  # q=0 says no


class Compressing(SimpleHTTPRequestHandler):
    """Serves files of one folder; texts are compressed for whoever accepts gzip."""

    protocol_version = "HTTP/1.1"
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, **TYPES}  # noqa: RUF012

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")  # a browser asks whether what it has is new
        self.send_header("Vary", "Accept-Encoding")
        super().end_headers()

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        path = Path(self.translate_path(self.path))
        try:
            inside = path.resolve().is_relative_to(Path(self.directory).resolve())
            is_file = path.is_file()
        except (OSError, RuntimeError, ValueError):  # too long, a link to itself, a NUL
            inside = False
        if not inside:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        accepted = GZIP.search(self.headers.get("Accept-Encoding", ""))
        if not accepted or path.suffix not in TYPES or not is_file:
            return super().send_head()
        status = path.stat()
        changed = self.date_time_string(int(status.st_mtime))
        if self.headers.get("If-Modified-Since") == changed:
            self.send_response(HTTPStatus.NOT_MODIFIED)
            self.end_headers()
            return None
        body = compressed(path, status.st_mtime_ns)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", TYPES[path.suffix])
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", changed)
        self.end_headers()
        return io.BytesIO(body)

    def copyfile(self, source: Any, outputfile: Any) -> None:
        try:
            super().copyfile(source, outputfile)
        except ConnectionError:  # a browser that has changed its mind
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a page asks for dozens of files."""


@lru_cache(maxsize=512)
def compressed(path: Path, changed: int) -> bytes:
    """Return the file compressed; ``changed`` is its time, so that a new one is read again."""
    return gzip.compress(path.read_bytes(), LEVEL, mtime=0)


def transferred(path: Path) -> int:
    """Return how many bytes of the file travel to who accepts gzip, here as on GitHub Pages."""
    status = path.stat()
    return len(compressed(path, status.st_mtime_ns)) if path.suffix in TYPES else status.st_size


def server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """Return a server of ``folder`` on this machine only; port 0 takes a free one.

    Raises FileNotFoundError when the folder holds no site, OSError when the port is taken.
    """
    if not (folder / "index.html").is_file():
        raise FileNotFoundError(f"{os.fspath(folder)} holds no site: run make book")
    return ThreadingHTTPServer(("127.0.0.1", port), partial(Compressing, directory=str(folder)))
