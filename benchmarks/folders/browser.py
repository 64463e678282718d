"""Opens a folder of `--target onnx-hf` in onnxruntime-web, on a page in headless Chromium.

PYTHON browser.py MODULES FOLDER '[1,2,3]' COUNT decoder|encoder|encoder-decoder START

MODULES is the folder node_modules with onnxruntime-web. The page is served on 127.0.0.1, and posts its result.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

HERE = Path(__file__).parent
SECONDS = 120
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Pages(SimpleHTTPRequestHandler):
    """The page, its modules, the folder, the request, and the place for the answer."""

    def __init__(self, roots: dict[str, Path], request: dict[str, Any], answers: Queue[Any], *args: Any) -> None:
        self.roots, self.asked, self.answers = roots, request, answers
        super().__init__(*args)

    def translate_path(self, path: str) -> str:
        """Return the file of a path below one of the roots."""
        place, _, name = path.partition("?")[0].removeprefix("/").partition("/")
        root = self.roots.get(place)
        return str(root / Path(name).name if root is not None else HERE / Path(place).name)

    def do_GET(self) -> None:
        """Send a file, or the request."""
        if self.path != "/request":
            super().do_GET()
            return
        body = json.dumps(self.asked).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        """Take the answer."""
        self.answers.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


def main() -> None:
    """Serve the page, open it, and print the answer."""
    modules, folder, ids, count, kind, start = sys.argv[1:7]
    request = {"ids": json.loads(ids), "count": int(count), "kind": kind, "start": json.loads(start)}
    answers: Queue[Any] = Queue()
    roots = {"dist": Path(modules) / "onnxruntime-web" / "dist", "folder": Path(folder)}
    Pages.extensions_map |= {".mjs": "text/javascript", ".wasm": "application/wasm"}
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Pages, roots, request, answers))
    Thread(target=server.serve_forever, daemon=True).start()
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        address = f"http://127.0.0.1:{server.server_port}/browser.html"
        browser = subprocess.Popen(
            [
                next(filter(None, map(shutil.which, BROWSERS)), None) or sys.exit("chromium: not found; install it"),
                *options,
                f"--user-data-dir={profile}",
                address,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            version, out, *agent = answers.get(timeout=SECONDS)
        except Empty:
            sys.exit(f"no answer in {SECONDS} s")
        finally:
            browser.terminate()
            browser.wait()
    if not out:
        sys.exit(version)
    print(json.dumps([f"{version}, {agent[0].rpartition('HeadlessChrome/')[2].split('.')[0]}", out]))


if __name__ == "__main__":
    main()
