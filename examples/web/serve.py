"""Serve the page that runs an exported file in the browser, on this machine alone.

    npm install --prefix examples/web && python examples/web/serve.py model.tflite

Data: a `.tflite` file of `kseg export`, float or int8, and any picture, chosen on the page, which shows the
classes by their names, and how sure the file is. A second to start, on two cores a few dozen milliseconds a
picture for small models: as many threads as there are cores, or as `?threads=1` behind the address says.
Prints the address to open; Ctrl-C ends it.
"""

import argparse
import functools
import http.server
import os
import urllib.parse
from pathlib import Path

FOLDER = Path(__file__).parent
PAGE = FOLDER / "index.html"
SCRIPTS = ("segmenter.js", "tflite.js")
NAMES = ("127.0.0.1", "localhost")
MODULES = "/node_modules/@litertjs/"


class Handler(http.server.SimpleHTTPRequestHandler):
    """The page, the model under the name `model.tflite`, the files of LiteRT.js, and nothing else."""

    extensions_map = {  # noqa: RUF012 - as the base class has it
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".wasm": "application/wasm",
        ".js": "text/javascript",
    }

    def __init__(self, *args, model, modules, **kwargs):
        self.modules = modules.resolve()
        self.files = {"/": PAGE, "/index.html": PAGE, "/model.tflite": model}
        self.files |= {f"/{name}": FOLDER / name for name in SCRIPTS}
        super().__init__(*args, directory=str(FOLDER), **kwargs)

    def send_head(self):
        """Answer GET and HEAD, to our names alone: a page elsewhere may give this address one of its own."""
        port = self.connection.getsockname()[1]
        names = {f"{name}:{port}" for name in NAMES} | (set(NAMES) if port == 80 else set())
        if self.headers.get("Host") not in names:
            self.send_error(http.HTTPStatus.FORBIDDEN, "Not a name of this machine")
            return None
        if not os.path.isfile(self.translate_path(self.path)):  # noqa: PTH113 - false for every odd name too
            self.send_error(http.HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def translate_path(self, path):
        """Return the file of an address; of every other address the path of none."""
        path = urllib.parse.unquote(path.split("?")[0].split("#")[0], errors="surrogateescape")
        if path in self.files:
            return str(self.files[path])
        if path.startswith(MODULES) and "\0" not in path:
            # as text: names may be longer than the system takes, and links lead in circles
            inside = os.path.realpath(f"{self.modules}/{path.removeprefix('/node_modules/')}")
            if inside.startswith(f"{self.modules}/@litertjs/"):
                return inside
        return str(FOLDER / "none" / "none")

    def end_headers(self):
        """Isolate the page: browsers then let it run several threads; and nobody else may embed its files."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, *args):
        """Say nothing."""


def server(model, modules=FOLDER / "node_modules", port=0):
    """Return the server; port 0 takes a free one."""
    if not (Path(modules) / "@litertjs" / "core").is_dir():
        raise FileNotFoundError(f"{modules}: no LiteRT.js there; run: npm install --prefix {FOLDER}")
    if not Path(model).is_file():
        raise FileNotFoundError(f"{model}: no such file")
    handler = functools.partial(Handler, model=Path(model), modules=Path(modules))
    return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, metavar="FILE", help=".tflite file")
    parser.add_argument("--port", type=int, default=8000, help="(default: %(default)s)")
    arguments = parser.parse_args()
    with server(arguments.model, port=arguments.port) as running:
        print(f"http://127.0.0.1:{running.server_port}")
        running.serve_forever()


if __name__ == "__main__":
    main()
