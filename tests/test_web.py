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
import tensorflow as tf
from browser import Browser
from PIL import Image

import kseg
from kseg.runtime import LiteRTFile

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
def page_of(browser, path, modules, query=""):
    """Show the page with a file: no error on its console, no request to another host."""
    with load_server().server(path, modules) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        own = f"http://127.0.0.1:{running.server_port}/"
        browser.events.clear()
        browser.call("Page.navigate", url=f"{own}index.html{query}")
        browser.wait_for('document.getElementById("status")?.textContent == "Choose a picture."')
        yield
        browser.evaluate("0")  # what happened until now is told
        assert not browser.complaints()
        assert browser.requests() and all(
            url.startswith((own, "data:", f"blob:{own}")) for url in browser.requests()
        )
        running.shutdown()


def ids_on_the_page(browser, picture):
    """Return the class ids that the page finds in a picture."""
    browser.evaluate("delete document.body.dataset.done")
    browser.evaluate(f'fetch("{encoded(picture)}").then((a) => a.blob()).then(kseg.usePicture)')
    browser.wait_for('document.body?.dataset.done == "true"')
    return np.reshape(browser.evaluate("Array.from(kseg.state.ids)"), picture.shape[:2])


@pytest.fixture
def browser(tmp_path):
    running = Browser(f"--user-data-dir={tmp_path}/profile")
    running.listen()
    yield running
    running.close()


@pytest.fixture(scope="module")
def trained():
    """Return a model that knows the shapes, pictures like those of its training, and the class names."""
    keras.utils.set_random_seed(0)
    scenes = kseg.data.shapes(200, (64, 64), seed=1, shuffle=True)
    model = kseg.compile(kseg.build_unet(6, filters=8), 4 * len(scenes), learning_rate=5e-3)
    model.fit(scenes, epochs=4, verbose=0, shuffle=False)
    pictures = next(iter(kseg.data.shapes(8, SIZE, seed=3, batch_size=8)))[0].numpy()
    return model, pictures, scenes.class_names


def confidence_on_the_page(browser, picture):
    return np.reshape(browser.evaluate("Array.from(kseg.state.confidence)"), picture.shape[:2])


@pytest.mark.slow
@pytest.mark.parametrize("quantize", [None, "int8"])
def test_the_page_gives_the_classes_of_python(tmp_path, modules, browser, trained, quantize):
    model, pictures, names = trained
    picture = next(iter(kseg.data.shapes(1, SIZE, seed=5)))[0][0].numpy()
    smooth = np.asarray(Image.fromarray(picture).resize((300, 200), Image.BICUBIC))
    for output in ("logits", "probabilities", "classes"):
        path = tmp_path / f"{output}.tflite"
        settings = {"input_size": SIZE, "output_kind": output, "class_names": names}
        data = pictures if quantize else None
        kseg.export_tflite(model, path, quantize=quantize, representative_data=data, **settings)
        with page_of(browser, path, modules):
            for shown in (picture, smooth):
                found = ids_on_the_page(browser, shown)
                expected = kseg.predict(path, shown)
                assert len(np.unique(expected)) > 2
                assert (found == expected).mean() >= (0.999 if shown is picture else 0.99)
                if output == "classes":
                    assert browser.evaluate("kseg.state.confidence") is None
                    continue
                sure = confidence_on_the_page(browser, shown)
                difference = np.abs(sure - kseg.predict(path, shown, output_kind="confidence"))
                # a pixel that is one step of uint8 brighter may move a score by some
                assert np.mean(difference) < 1e-3 and (quantize or difference.max() < 1e-2)
            text = browser.evaluate("document.body.innerText")
        assert " ms, 128 × 96 pixels" in text
        assert all(names[id] in text for id in np.unique(expected))
    shown = browser.call("Page.captureScreenshot")["data"]
    (tmp_path / "page.png").write_bytes(base64.b64decode(shown))
    assert np.ptp(np.asarray(Image.open(tmp_path / "page.png").convert("L"))) > 100


def sorting_model(num_classes, sharpness=1.0, activation=None):
    """Return a model that sorts each pixel by its brightness."""
    image = keras.Input((None, None, 3))
    conv = keras.layers.Conv2D(num_classes, 1, activation=activation)
    model = keras.Model(image, conv(image))
    centres = (np.arange(num_classes) + 0.5) * 255 / num_classes
    kernel = np.tile(2 * centres / 3, (3, 1)).reshape(1, 1, 3, num_classes)
    conv.set_weights([(sharpness * each).astype("float32") for each in (kernel, -(centres**2))])
    return model


LARGEST = """
window.largest = 0;
window.Float32Array = class extends Float32Array {
  constructor(...given) { super(...given); window.largest = Math.max(window.largest, this.length); }
  static get [Symbol.species]() { return Object.getPrototypeOf(this); }
};
"""


@pytest.mark.slow
def test_the_page_takes_many_classes_and_large_pictures(tmp_path, modules, browser):
    """Ids above 255 stay what they are, and scores of all classes are never held at the picture's size."""
    model, num_classes = sorting_model(300), 300
    ramp = np.linspace(0, 255, 900 * 1201).reshape(900, 1201)
    picture = np.repeat(ramp[..., None], 3, -1).astype("uint8")
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


@pytest.mark.slow
def test_the_page_resizes_as_python_does(tmp_path, modules, browser):
    """A model that sorts each pixel by itself shows each difference; larger, smaller, its size."""
    model = sorting_model(4)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (*size, 3)).astype("uint8") for size in ((768, 1024), (70, 301), SIZE)]
    for output in ("logits", "classes"):
        path = tmp_path / f"{output}.tflite"
        kseg.export_tflite(model, path, input_size=SIZE, output_kind=output)
        with page_of(browser, path, modules):
            for picture in pictures:
                same = ids_on_the_page(browser, picture) == kseg.predict(path, picture)
                assert same.mean() >= 0.995, (output, picture.shape)


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
            isolation = [answer.headers[f"Cross-Origin-{each}-Policy"] for each in ("Opener", "Resource")]
            assert isolation == ["same-origin", "same-origin"]
            assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
            return answer.status, answer.read(), answer.headers["Content-Type"]

        assert get("/model.tflite")[:2] == (200, b"model")
        assert get("/node_modules/@litertjs/core/a.wasm") == (200, b"code", "application/wasm")
        assert b"<title>kseg in the browser" in get("/index.html")[1]
        assert b"<title>kseg in the browser" in get("/")[1]
        for script in ("segmenter", "tflite"):
            assert get(f"/{script}.js")[::2] == (200, "text/javascript")
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


HOSTILE = [
    "<img src=x onerror=window.hacked=1>",
    "</b><script>window.hacked=1</script>",
    "&lt;b&gt; &amp;",
    "Straße, 道路",
]
RAMP = np.repeat(np.repeat(np.linspace(0, 255, 128)[None], 96, 0)[..., None], 3, -1).astype("uint8")


@pytest.fixture(scope="module")
def sorter(tmp_path_factory):
    """Return the path of a file that sorts pixels by brightness, not too surely, with hostile names."""
    path = tmp_path_factory.mktemp("sorter") / "sorter.tflite"
    kseg.export_tflite(sorting_model(4, 1e-3), path, input_size=SIZE, class_names=HOSTILE)
    return path


@pytest.mark.slow
def test_names_are_text(modules, browser, sorter):
    with page_of(browser, sorter, modules):
        ids_on_the_page(browser, RAMP)
        names = browser.evaluate(
            "Array.from(document.querySelectorAll('#legend b'), (each) => each.textContent)"
        )
        assert sorted(names) == sorted(HOSTILE)
        for pixel, name in zip((0, 40, 80, 127), HOSTILE, strict=True):
            browser.evaluate(f"kseg.tell({pixel}, 5)")
            assert browser.evaluate("document.getElementById('here').textContent").startswith(name)
        assert browser.evaluate("document.querySelectorAll('main img, main script').length") == 0
        assert browser.evaluate("window.hacked") is None


def press(browser, key, **more):
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, **more)


def told(browser):
    return browser.evaluate("document.getElementById('here').textContent")


def place_of(browser, x, y):
    """Return where a pixel of `RAMP` stands on the screen."""
    browser.evaluate("document.getElementById('canvas').scrollIntoView()")
    box = browser.evaluate("document.getElementById('canvas').getBoundingClientRect().toJSON()")
    place = {"x": box["left"] + (x + 0.5) / 128 * box["width"]}
    return place | {"y": box["top"] + (y + 0.5) / 96 * box["height"]}


@pytest.mark.slow
def test_the_class_and_its_probability_are_told_by_pointer_keys_and_touch(modules, browser, sorter):
    ids = kseg.predict(sorter, RAMP)
    sure = kseg.predict(sorter, RAMP, output_kind="confidence")
    assert np.ptp(sure) > 0.2

    def line(x, y):
        return f"{HOSTILE[ids[y, x]]} · {100 * sure[y, x]:.1f} % · pixel {x}, {y}"

    with page_of(browser, sorter, modules):
        ids_on_the_page(browser, RAMP)
        assert told(browser) == ""
        for x, y in ((100, 20), (3, 90)):
            browser.call("Input.dispatchMouseEvent", type="mouseMoved", **place_of(browser, x, y))
            assert told(browser) == line(x, y)
        browser.evaluate("document.getElementById('canvas').focus()")
        press(browser, "ArrowRight")
        press(browser, "ArrowUp")
        assert told(browser) == line(4, 89)
        press(browser, "ArrowRight", modifiers=8)  # Shift
        assert told(browser) == line(10, 89)
        for _ in range(12):
            press(browser, "ArrowLeft")
        assert told(browser) == line(0, 89)
        browser.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[place_of(browser, 60, 50)])
        browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        assert told(browser) == line(60, 50)


def canvas_colour(browser, x, y):
    return browser.evaluate(
        "(() => { const c = document.getElementById('canvas'), s = c.width / 128;"
        f"return Array.from(c.getContext('2d').getImageData(s * {x + 0.5}, s * {y + 0.5}, 1, 1).data)"
        ".slice(0, 3) })()"
    )


@pytest.mark.slow
def test_the_confidence_is_shown_where_there_is_one(tmp_path, modules, browser, sorter):
    toggle = "document.getElementById('confidence')"
    opaque = "{ const o = document.getElementById('opacity'); o.value = 1; o.oninput() }"
    sure = kseg.predict(sorter, RAMP, output_kind="confidence")
    least, most = (np.unravel_index(at, sure.shape)[::-1] for at in (sure.argmin(), sure.argmax()))
    with page_of(browser, sorter, modules):
        assert browser.evaluate(f"{toggle}.disabled")  # there is no picture yet
        ids_on_the_page(browser, RAMP)
        browser.evaluate(opaque)
        assert canvas_colour(browser, 2, 2) == list(kseg.visualization.palette(4)[0])
        browser.evaluate(f"{toggle}.focus()")
        browser.call("Input.dispatchKeyEvent", type="keyDown", key=" ", code="Space", text=" ")
        browser.call("Input.dispatchKeyEvent", type="keyUp", key=" ", code="Space")
        assert browser.evaluate(f"{toggle}.checked")
        assert not browser.evaluate("document.getElementById('ramp').hidden")
        dark, bright = canvas_colour(browser, *least), canvas_colour(browser, *most)
        assert sum(bright) > sum(dark) + 50  # of viridis, whose lightness rises
        browser.evaluate(f"{toggle}.click()")
        assert canvas_colour(browser, 2, 2) == list(kseg.visualization.palette(4)[0])
    path = tmp_path / "ids.tflite"
    kseg.export_tflite(sorting_model(4), path, input_size=SIZE, output_kind="classes")
    with page_of(browser, path, modules):
        ids_on_the_page(browser, RAMP)
        assert browser.evaluate(f"{toggle}.disabled && !{toggle}.checked")
        assert "class ids alone" in browser.evaluate("document.getElementById('note').textContent")
        browser.evaluate("document.getElementById('canvas').focus()")
        press(browser, "ArrowRight")
        assert told(browser) == "class 2 · no confidence in this file · pixel 65, 48"


@pytest.mark.slow
def test_the_page_is_isolated_and_asks_for_the_cores(modules, browser, sorter):
    browser.call("Emulation.setHardwareConcurrencyOverride", hardwareConcurrency=2)
    found = {}
    for query, threads, build in (("", 2, "threaded_internal"), ("?threads=1", 1, "wasm_internal")):
        with page_of(browser, sorter, modules, query):
            assert browser.evaluate("crossOriginIsolated") is True
            assert any(f"{build}.wasm" in url for url in browser.requests())
            browser.evaluate(
                "{ window.asked = []; const { wasm } = kseg.state.segmenter, { compileModel } = wasm;"
                "wasm.compileModel = (...given) => {"
                "asked.push(given[2].cpuOptions.numThreads); return compileModel(...given); } }"
            )
            choose(browser, "file", sorter)
            browser.wait_for("asked.length")
            assert browser.evaluate("asked") == [threads]
            found[threads] = ids_on_the_page(browser, RAMP)
            shown = "1 thread" if threads == 1 else "2 threads"
            assert browser.evaluate("document.getElementById('status').textContent").endswith(shown)
    assert (found[1] == found[2]).all()


def choose(browser, field, path):
    """Choose a file in a field of the form."""
    root = browser.call("DOM.getDocument")["root"]["nodeId"]
    node = browser.call("DOM.querySelector", nodeId=root, selector=f"#{field}")["nodeId"]
    browser.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])


def foreign_file(path, kind):
    """Write a file as TensorFlow's converter makes it, without metadata, integers in and out."""
    model = sorting_model(4, 1e-3)
    image = keras.Input((*SIZE, 3), batch_size=1)
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(image, model(image)))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([RAMP[None].astype("float32")] for _ in range(4))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = kind
    path.write_bytes(converter.convert())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")  # the representative data tell them
@pytest.mark.parametrize("kind", [tf.int8, tf.uint8])
def test_integer_files_of_others_are_run(tmp_path, modules, browser, kind):
    path = tmp_path / "foreign.tflite"
    foreign_file(path, kind)
    assert LiteRTFile(path).input["dtype"] == kind.as_numpy_dtype
    with page_of(browser, path, modules):
        found = ids_on_the_page(browser, RAMP)
        assert browser.evaluate("kseg.state.confidence") is None
        assert "Nothing tells" in browser.evaluate("document.getElementById('note').textContent")
    assert (found == kseg.predict(path, RAMP)).mean() >= 0.99 and len(np.unique(found)) == 4


@pytest.mark.slow
def test_one_channel_and_several_labels_are_read_as_python_reads_them(tmp_path, modules, browser):
    wide = np.asarray(Image.fromarray(RAMP).resize((301, 70), Image.BICUBIC))
    for output in ("logits", "probabilities"):
        for channels, several in ((1, False), (3, True)):
            image = keras.Input((None, None, 3))
            conv = keras.layers.Conv2D(channels, 1)
            model = keras.Model(image, conv(image))
            slopes = np.tile(np.linspace(0.01, 0.03, channels), (1, 1, 3, 1))
            conv.set_weights([slopes, -np.linspace(4, 6, channels)])
            path = tmp_path / f"{output}{channels}.tflite"
            kseg.export_tflite(
                model, path, input_size=SIZE, output_kind=output, activation="linear", multilabel=several
            )
            with page_of(browser, path, modules):
                ids, sure = ids_on_the_page(browser, wide), confidence_on_the_page(browser, wide)
                note = browser.evaluate("document.getElementById('note').textContent")
            of_python = kseg.predict(path, wide, output_kind="probabilities")
            if several:
                best = of_python.argmax(-1)
                most = of_python.max(-1)
                expected = np.where(most > 0.5, best, 65535)
                expected_sure = np.maximum(most, 1 - most)
            else:
                expected, expected_sure = of_python.argmax(-1), of_python.max(-1)
            assert len(np.unique(expected)) > 1
            assert (ids == expected).mean() >= 0.995 and np.abs(sure - expected_sure).max() < 1e-2
            assert ("several labels" in note) == several


@pytest.mark.slow
def test_a_colour_picture_is_made_grey_for_a_grey_file(tmp_path, modules, browser, sorter):
    picture = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype("uint8")
    Image.fromarray(picture).save(tmp_path / "colour.png")
    for channels in (1, 4):
        image = keras.Input((None, None, channels))
        conv = keras.layers.Conv2D(4, 1)
        model = keras.Model(image, conv(image))
        centres = (np.arange(4) + 0.5) * 64
        kernel = np.tile(2 * centres / channels, (channels, 1)).reshape(1, 1, channels, 4)
        conv.set_weights([kernel, -(centres**2)])
        path = tmp_path / f"{channels}.tflite"
        kseg.export_tflite(model, path, input_size=SIZE)
        with page_of(browser, sorter, modules):
            choose(browser, "file", path)
            if channels == 1:
                browser.wait_for("kseg.state.segmenter?.facts.input.shape[3] == 1")
                found = ids_on_the_page(browser, picture)
                assert (found == kseg.predict(path, tmp_path / "colour.png")).mean() >= 0.999
            else:
                browser.wait_for("document.getElementById('status').className == 'error'")
                status = browser.evaluate("document.getElementById('status').textContent")
                assert status == "the file takes (1, 96, 128, 4); a page has pictures of 1 or 3 channels"


@pytest.mark.slow
def test_files_that_are_none_are_refused_in_a_sentence(tmp_path, modules, browser, sorter):
    whole = sorter.read_bytes()
    with page_of(browser, sorter, modules):
        for name, content in (
            *(("text", b"no file of this kind"), ("empty", b""), ("cut", whole[:200])),
            *(("other", whole[:4] + b"ONNX" + whole[8:]),),
        ):
            (tmp_path / f"{name}.tflite").write_bytes(content)
            choose(browser, "file", tmp_path / f"{name}.tflite")
            browser.wait_for("document.getElementById('status').className == 'error'")
            assert browser.evaluate("document.getElementById('status').textContent")
            browser.evaluate(f'fetch("{encoded(RAMP)}").then((a) => a.blob()).then(kseg.usePicture)')
            browser.wait_for("document.getElementById('status').textContent == 'Choose a .tflite file.'")
            assert browser.evaluate("document.getElementById('legend').children.length") == 0
            choose(browser, "file", sorter)  # and the page goes on
            browser.wait_for("document.getElementById('legend').children.length == 4")
        assert len(np.unique(ids_on_the_page(browser, RAMP))) == 4
        (tmp_path / "note.png").write_text("no picture")
        choose(browser, "picture", tmp_path / "note.png")
        browser.wait_for("document.getElementById('status').className == 'error'")


CONTRAST = """(() => {
  const light = (text) => {
    const [r, g, b] = text.match(/[0-9.]+/g).slice(0, 3).map((each) => {
      const share = each / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const own = (each) => Array.from(each.childNodes).some((node) => node.nodeType === 3 && node.data.trim());
  const clear = (each) => / 0\\)$/.test(getComputedStyle(each).backgroundColor);
  return Array.from(document.querySelectorAll("body *")).filter((e) => e.offsetParent && own(e))
    .map((each) => {
    let behind = each;
    while (clear(behind)) behind = behind.parentElement;
    const pair = [getComputedStyle(each).color, getComputedStyle(behind).backgroundColor].map(light);
    return [each.textContent, (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05)];
  });
})()"""


@pytest.mark.slow
def test_the_page_is_readable_on_a_phone_in_the_dark_and_by_keyboard(tmp_path, modules, browser, sorter):
    with page_of(browser, sorter, modules):
        ids_on_the_page(browser, RAMP)
        backs = []
        for width in (375, 1280):
            screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
            browser.call("Emulation.setDeviceMetricsOverride", **screen)
            assert browser.evaluate("document.documentElement.scrollWidth") <= width
            for scheme in ("light", "dark"):
                feature = {"name": "prefers-color-scheme", "value": scheme}
                browser.call("Emulation.setEmulatedMedia", features=[feature])
                contrasts = browser.evaluate(CONTRAST)
                assert len(contrasts) >= 10 and min(ratio for _, ratio in contrasts) >= 4.5, contrasts
                backs.append(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert backs[0] == backs[2] != backs[1] == backs[3]
        seen = []
        for _ in range(7):
            press(browser, "Tab")
            seen.append(browser.evaluate("document.activeElement.id"))
            style = browser.evaluate(
                "(({ outlineStyle, outlineWidth }) => [outlineStyle, outlineWidth])"
                "(getComputedStyle(document.activeElement))"
            )
            assert not seen[-1] or style == ["solid", "3px"], seen
        assert {"picture", "file", "opacity", "confidence", "canvas", "legend"} <= set(seen)
