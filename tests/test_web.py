"""The page of `examples/web`, driven in headless Chromium by its debugging pipe."""

import base64
import contextlib
import http.client
import importlib.util
import io
import shutil
import subprocess
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
from browser import Browser
from PIL import Image

import kseg

FOLDER = Path(__file__).parents[1] / "examples" / "web"
SIZE = (96, 128)


def load_server():
    spec = importlib.util.spec_from_file_location("serve", FOLDER / "serve.py")
    serve = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(serve)
    return serve


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """LiteRT.js, of the page's own folder or fetched by npm as its `package.json` says."""
    if (FOLDER / "node_modules").is_dir():
        return FOLDER / "node_modules"
    folder = tmp_path_factory.mktemp("npm")
    shutil.copy(FOLDER / "package.json", folder)
    subprocess.run(["npm", "install", "--silent", "--no-audit"], cwd=folder, check=True)
    return folder / "node_modules"


def encoded(picture):
    """Return the address of a picture as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


@contextlib.contextmanager
def page_of(browser, path, modules):
    """Show the page with a file."""
    with load_server().server(path, modules) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        browser.call("Page.navigate", url=f"http://127.0.0.1:{running.server_port}/index.html")
        browser.wait_for('document.getElementById("status")?.textContent == "Choose a picture."')
        yield
        running.shutdown()


def ids_on_the_page(browser, picture):
    """Return the class ids that the page finds in a picture."""
    browser.evaluate("delete document.body.dataset.done")
    browser.evaluate(f'fetch("{encoded(picture)}").then((a) => a.blob()).then(kseg.usePicture)')
    browser.wait_for('document.body?.dataset.done == "true"')
    return np.reshape(browser.evaluate("Array.from(kseg.state.ids)"), picture.shape[:2])


@pytest.mark.slow
def test_the_page_gives_the_classes_of_python(tmp_path, modules):
    keras.utils.set_random_seed(0)
    scenes = kseg.data.shapes(200, (64, 64), seed=1, shuffle=True)
    model = kseg.compile(kseg.build_unet(6, filters=8), 4 * len(scenes), learning_rate=5e-3)
    model.fit(scenes, epochs=4, verbose=0, shuffle=False)
    picture = next(iter(kseg.data.shapes(1, SIZE, seed=5)))[0][0].numpy()
    browser = Browser(f"--user-data-dir={tmp_path}/profile")
    try:
        for output in ("logits", "probabilities", "classes"):
            path = tmp_path / f"{output}.tflite"
            names = scenes.class_names
            kseg.export_tflite(model, path, input_size=SIZE, output_kind=output, class_names=names)
            with page_of(browser, path, modules):
                found = ids_on_the_page(browser, picture)
                text = browser.evaluate("document.body.innerText")
            expected = kseg.predict(path, picture)
            assert len(np.unique(expected)) > 2
            assert (found == expected).mean() >= 0.999
            assert " ms, 128 × 96 pixels" in text
            assert all(scenes.class_names[id] in text for id in np.unique(expected))
        shown = browser.call("Page.captureScreenshot")["data"]
        (tmp_path / "page.png").write_bytes(base64.b64decode(shown))
        assert np.ptp(np.asarray(Image.open(tmp_path / "page.png").convert("L"))) > 100
    finally:
        browser.close()


def sorting_model(num_classes):
    """Return a model that sorts each pixel by its brightness."""
    image = keras.Input((None, None, 3))
    conv = keras.layers.Conv2D(num_classes, 1)
    model = keras.Model(image, conv(image))
    centres = (np.arange(num_classes) + 0.5) * 255 / num_classes
    kernel = np.tile(2 * centres / 3, (3, 1)).reshape(1, 1, 3, num_classes)
    conv.set_weights([kernel.astype("float32"), -(centres**2).astype("float32")])
    return model


LARGEST = """
window.largest = 0;
window.Float32Array = class extends Float32Array {
  constructor(...given) { super(...given); window.largest = Math.max(window.largest, this.length); }
  static get [Symbol.species]() { return Object.getPrototypeOf(this); }
};
"""


@pytest.mark.slow
def test_the_page_takes_many_classes_and_large_pictures(tmp_path, modules):
    """Ids above 255 stay what they are, and scores of all classes are never held at the picture's size."""
    model, num_classes = sorting_model(300), 300
    ramp = np.linspace(0, 255, 900 * 1201).reshape(900, 1201)
    picture = np.repeat(ramp[..., None], 3, -1).astype("uint8")
    browser = Browser(f"--user-data-dir={tmp_path}/profile")
    try:
        for output in ("logits", "classes"):
            path = tmp_path / f"{output}.tflite"
            kseg.export_tflite(model, path, input_size=(48, 64), output_kind=output)
            with page_of(browser, path, modules):
                browser.evaluate(LARGEST)
                found = ids_on_the_page(browser, picture)
                largest = browser.evaluate("largest")
            expected = kseg.predict(path, picture)
            assert expected.max() > 255 and (found == expected).mean() >= 0.995, output
            assert picture.size <= largest < picture.size * num_classes / 30
    finally:
        browser.close()


@pytest.mark.slow
def test_the_page_resizes_as_python_does(tmp_path, modules):
    """A model that sorts each pixel by itself shows each difference; larger, smaller, its size."""
    model = sorting_model(4)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (*size, 3)).astype("uint8") for size in ((768, 1024), (70, 301), SIZE)]
    browser = Browser(f"--user-data-dir={tmp_path}/profile")
    try:
        for output in ("logits", "classes"):
            path = tmp_path / f"{output}.tflite"
            kseg.export_tflite(model, path, input_size=SIZE, output_kind=output)
            with page_of(browser, path, modules):
                for picture in pictures:
                    same = ids_on_the_page(browser, picture) == kseg.predict(path, picture)
                    assert same.mean() >= 0.995, (output, picture.shape)
    finally:
        browser.close()


def test_the_server_gives_out_its_own_files_alone(tmp_path):
    serve, modules = load_server(), tmp_path / "modules"
    with pytest.raises(FileNotFoundError, match="npm install"):
        serve.server(tmp_path / "m.tflite", modules)
    (modules / "@litertjs" / "core").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"m\.tflite: no such file"):
        serve.server(tmp_path / "m.tflite", modules)
    (tmp_path / "m.tflite").write_bytes(b"model")
    (tmp_path / "secret").write_text("not this")
    (modules / "@litertjs" / "core" / "a.wasm").write_bytes(b"code")
    (modules / "@litertjs" / "core" / "link.js").symlink_to(tmp_path / "secret")
    (modules / "@litertjs" / "core" / "loop").symlink_to("loop")
    (modules / "other").mkdir()
    (modules / "other" / "a.js").write_bytes(b"not this")
    with serve.server(tmp_path / "m.tflite", modules) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        connection = http.client.HTTPConnection("127.0.0.1", running.server_port)

        def get(address, method="GET", **headers):
            connection.request(method, address, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers["Content-Type"]

        assert get("/model.tflite")[:2] == (200, b"model")
        assert get("/node_modules/@litertjs/core/a.wasm") == (200, b"code", "application/wasm")
        assert b"<title>kseg in the browser" in get("/index.html")[1]
        assert b"<title>kseg in the browser" in get("/")[1]
        assert get("/model.tflite?a=b")[0] == 200
        for address in (
            *("/node_modules/../secret", "/../../tests/test_web.py", "/none", "/serve.py", "/package.json"),
            *("/node_modules/", "/node_modules", "/node_modules/@litertjs/", "/node_modules/@litertjs/core"),
            *(
                "/node_modules/other/a.js",
                "/node_modules/@litertjs/../other/a.js",
                "/%2e%2e/%2e%2e/README.md",
            ),
            *("/node_modules/@litertjs/%2e%2e/%2e%2e/secret", "/node_modules/@litertjs/core/link.js"),
            *("/node_modules/@litertjs/" + "a" * 300, "/node_modules/@litertjs/" + "a/" * 3000),
            *("/node_modules/@litertjs/core/loop", "/node_modules/@litertjs/core/a.wasm/b", "/" + "a" * 5000),
            *("/node_modules/@litertjs/a%00", "/node_modules/@litertjs//etc/passwd", "/.."),
        ):
            assert get(address)[0] == 404, address
        name = f"127.0.0.1:{running.server_port}"
        for host in (name, name.replace("127.0.0.1", "localhost")):
            assert get("/model.tflite", Host=host)[0] == 200
        for host in ("evil.example", f"evil.example:{running.server_port}", "127.0.0.1", "127.0.0.1:1", ""):
            for method in ("GET", "HEAD"):
                assert get("/model.tflite", method, Host=host)[0] == 403, host
        assert get("/model.tflite", "POST")[0] == 501
        connection.close()
        running.shutdown()
