"""A local server that speaks the protocol of the Hugging Face Hub, as far as downloads of a model need it."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

API = re.compile(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?/?")
RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


class HubServer:
    """Repositories by name: each revision is a folder; its commit is a hash of the revision's name.

    `broken` is how often the connection breaks in the middle of a file; `stalled` files never answer. `gated`
    repositories refuse. `requests` counts the files' GET requests, `ranges` are the first bytes that were requested.
    """

    def __init__(self) -> None:
        self.revisions: dict[str, dict[str, Path]] = {}
        self.broken: Counter[str] = Counter()
        self.stalled: set[str] = set()
        self.gated: set[str] = set()
        self.requests: list[str] = []
        self.ranges: list[tuple[str, int]] = []
        self.closing = threading.Event()
        owner = self

        class Handler(_Handler):
            server_state = owner

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def add(self, name: str, folder: Path, revision: str = "main") -> None:
        """Serve a folder as a revision of a repository."""
        self.revisions.setdefault(name, {})[revision] = folder

    def close(self) -> None:
        """Stop answering."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def find(self, name: str, revision: str) -> tuple[Path, str] | None:
        """Return the folder of a revision, a name or a commit, with its commit."""
        for known, folder in self.revisions.get(name, {}).items():
            commit = hashlib.sha1(f"{name}@{known}".encode()).hexdigest()
            if revision in (known, commit):
                return folder, commit
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: HubServer

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self.server_state.closing.is_set():
            self.close_connection = True
            return
        path = unquote(urlsplit(self.path).path)
        if "api" in self.server_state.stalled:
            self.server_state.closing.wait(60)
            return
        if match := API.fullmatch(path):
            self._describe(match[1], match[2] or "revision", match[3] or "main")
        elif match := RESOLVE.fullmatch(path):
            self._send_file(match[1], match[2], match[3])
        else:
            self._refuse(404, "EntryNotFound")

    def _refuse(self, code: int, reason: str) -> None:
        self._send(code, json.dumps({"error": reason}).encode(), {"X-Error-Code": reason, "X-Error-Message": reason})

    def _send(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _find(self, name: str, revision: str) -> tuple[Path, str] | None:
        if name in self.server_state.gated:
            self._refuse(401, "GatedRepo")
        elif name not in self.server_state.revisions:
            self._refuse(401, "RepoNotFound")
        elif (found := self.server_state.find(name, revision)) is None:
            self._refuse(404, "RevisionNotFound")
        else:
            return found
        return None

    def _describe(self, name: str, kind: str, revision: str) -> None:
        found = self._find(name, revision)
        if found is None:
            return
        folder, commit = found
        sizes = {
            file.relative_to(folder).as_posix(): file.stat().st_size
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }
        if kind == "tree":
            answer: Any = [
                {"type": "file", "path": file, "size": size, "oid": hashlib.sha1(file.encode()).hexdigest()}
                for file, size in sizes.items()
            ]
        else:
            siblings = [{"rfilename": file, "size": size} for file, size in sizes.items()]
            answer = {"id": name, "modelId": name, "sha": commit, "private": False, "siblings": siblings, "tags": []}
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _send_file(self, name: str, revision: str, file: str) -> None:
        state = self.server_state
        found = self._find(name, revision)
        if found is None:
            return
        folder, commit = found
        path = folder / file
        if not path.is_file():
            self._refuse(404, "EntryNotFound")
            return
        data = path.read_bytes()
        headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha256(data).hexdigest()}"', "Accept-Ranges": "bytes"}
        if self.command == "HEAD":
            headers |= {"X-Linked-Size": str(len(data)), "X-Linked-ETag": headers["ETag"]}
            self._send(200, data, headers)
            return
        if file in state.stalled:
            state.closing.wait(60)
            return
        state.requests.append(file)
        start, code = 0, 200
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            start, code = int(match[1]), 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        state.ranges.append((file, start))
        body = data[start:]
        if state.broken[file] > 0:
            state.broken[file] -= 1
            self.send_response(code)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            time.sleep(0.05)
            self.close_connection = True
            return
        self._send(code, body, headers)
