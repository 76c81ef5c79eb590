"""Serve the page that runs an exported file in the browser, on this machine alone.

    npm install --prefix examples/web && python examples/web/serve.py model.tflite

Data: a float `.tflite` file of `kseg export` (not int8: the browser's runtime takes no such input) and any
picture, chosen on the page. A second to start, on two cores a few dozen milliseconds a picture for small
models. Prints the address to open; Ctrl-C ends it.
"""

import argparse
import functools
import http.server
from pathlib import Path

FOLDER = Path(__file__).parent


class Handler(http.server.SimpleHTTPRequestHandler):
    """The folder of the page, and the model under the name `model.tflite`."""

    extensions_map = {  # noqa: RUF012 - as the base class has it
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".wasm": "application/wasm",
        ".js": "text/javascript",
    }

    def __init__(self, *args, model, modules, **kwargs):
        self.places = {"/model.tflite": model, "/node_modules": modules}
        super().__init__(*args, directory=str(FOLDER), **kwargs)

    def translate_path(self, path):
        """Return the file of an address; outside of the folders there is none."""
        path = path.split("?")[0]
        if path == "/model.tflite":
            return str(self.places[path])
        if path.startswith("/node_modules/"):
            inside = self.places["/node_modules"].joinpath(path.removeprefix("/node_modules/")).resolve()
            allowed = inside.is_relative_to(self.places["/node_modules"].resolve())
            return str(inside) if allowed else str(FOLDER / "none")
        return super().translate_path(path)

    def end_headers(self):
        """Isolate the page: browsers then let it run several threads."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
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
    parser.add_argument("model", type=Path, metavar="FILE", help="float .tflite file")
    parser.add_argument("--port", type=int, default=8000, help="(default: %(default)s)")
    arguments = parser.parse_args()
    with server(arguments.model, port=arguments.port) as running:
        print(f"http://127.0.0.1:{running.server_port}")
        running.serve_forever()


if __name__ == "__main__":
    main()
