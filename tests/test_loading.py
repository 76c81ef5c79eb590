"""`kseg.load` on files that are not what they say: `ValueError` and nothing else, before they take memory."""

import gzip
import io
import json
import os
import stat
import warnings
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

import kseg
from kseg.commands.train import train
from kseg.inference.loading import _needs

WEIGHTS = "model.weights.h5"


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """Return the members of a sound file."""
    path = tmp_path_factory.mktemp("sound") / "model.keras"
    kseg.build_conv_stack(3, depth=1, filters=2).save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path, members, **changes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**members, **changes}.items():
            archive.writestr(name, content)
    return path


def with_layer(members, kind, **config):
    """Return the config of the model with one more layer behind its last."""
    whole = json.loads(members["config.json"])
    last = whole["config"]["layers"][-1]["config"]["name"]
    history = {"shape": [None, None, None, 3], "dtype": "float32", "keras_history": [last, 0, 0]}
    tensor = {"class_name": "__keras_tensor__", "config": history}
    whole["config"]["layers"].append(
        {
            "module": "keras.layers",
            "class_name": kind,
            "config": {"name": "more", **config},
            "registered_name": None,
            "name": "more",
            "inbound_nodes": [{"args": [tensor], "kwargs": {}}],
        }
    )
    return json.dumps(whole)


def hdf5(**arrays):
    file = io.BytesIO()
    with h5py.File(file, "w") as weights:
        for name, options in arrays.items():
            weights.create_dataset(name, **options)
    return file.getvalue()


def memory():
    """Return the bytes of this process."""
    return 4096 * int(Path("/proc/self/statm").read_text().split()[1])


def refused(path, *words):
    with pytest.raises(ValueError, match=rf"{path.name}: ") as caught:
        kseg.load(path)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_file_packed_anew_is_loaded(tmp_path, members):
    assert kseg.load(written(tmp_path / "a.keras", members)).count_params() > 0


CONFIGS = {
    "nested lists": "[" * 200_000 + "]" * 200_000,
    "nested objects": '{"config":' * 100_000 + "1" + "}" * 100_000,
    "no JSON": b"\xff\xfe{",
    "a number": "7",
    "nothing": "",
    "null": "null",
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=list(CONFIGS))
def test_a_config_that_is_none(tmp_path, members, config):
    refused(written(tmp_path / "a.keras", members, **{"config.json": config}))


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("TorchModuleWrapper", {"module": "eA=="}),  # asks for a module that is not there
        ("JaxLayer", {"call_fn": "x"}),
        ("TFSMLayer", {"filepath": "/tmp"}),
        ("Lambda", {"function": {"class_name": "__lambda__", "config": {"value": "x"}}}),
        ("NoLayer", {}),
        ("Dense", {"units": -1}),
    ],
)
def test_a_layer_that_cannot_be_made(tmp_path, members, kind, config):
    refused(written(tmp_path / "a.keras", members, **{"config.json": with_layer(members, kind, **config)}))


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("Dense", {"units": 10**13}),
        ("Dense", {"units": 10**8}),  # it would fit
        ("Conv2D", {"filters": 4000, "kernel_size": [4000, 4000]}),
        ("Embedding", {"input_dim": 10**9, "output_dim": 64}),
    ],
)
def test_layers_that_need_more_than_the_file_holds_take_no_memory(tmp_path, members, kind, config):
    path = written(tmp_path / "a.keras", members, **{"config.json": with_layer(members, kind, **config)})
    before = memory()
    refused(path, "its layers need", "it declares")
    assert memory() - before < 200e6


def test_weights_that_unpack_to_more_than_the_layers_need_are_not_read(tmp_path, members, monkeypatch):
    path = written(tmp_path / "a.keras", members, **{WEIGHTS: bytes(300 << 20)})
    assert path.stat().st_size < 1 << 20
    read = zipfile.ZipFile.read
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda self, name, *_: _only_config(read, self, name))
    refused(
        path,
        "its layers need 0.0 MB of weights, and it declares 314.6 MB; ",
        "; the file is not what Keras wrote: save the model again",
    )


def _only_config(read, archive, name):
    assert name == "config.json"
    return read(archive, name)


def test_arrays_that_declare_more_than_the_layers_need(tmp_path, members):
    for options in (
        {
            "shape": (1 << 28,),
            "dtype": "float32",
            "chunks": (1 << 20,),
            "compression": "gzip",
        },  # never written
        {"shape": (1 << 40,), "dtype": "float64", "chunks": (1 << 10,), "fillvalue": 1.0},
    ):
        content = hdf5(**{"layers/logits/vars/0": options})
        refused(written(tmp_path / "a.keras", members, **{WEIGHTS: content}), "it declares")


def test_a_config_or_another_member_of_absurd_size(tmp_path, members):
    huge = b'{"a": "' + b" " * (65 << 20) + b'"}'
    refused(written(tmp_path / "a.keras", members, **{"config.json": huge}), "its config has 68 MB")
    refused(written(tmp_path / "a.keras", members, **{"assets/a": bytes(64 << 20)}), "assets/a in it unpacks")


@pytest.mark.parametrize("lacks", ["config.json", "metadata.json", WEIGHTS])
def test_a_member_that_is_missing(tmp_path, members, lacks):
    rest = {name: content for name, content in members.items() if name != lacks}
    path = written(tmp_path / "a.keras", rest)
    if lacks == "metadata.json":  # nothing in it is needed
        assert kseg.load(path).count_params() > 0
    else:
        refused(path)


@pytest.mark.parametrize("content", [b"", b"no HDF5", bytes(100), gzip.compress(bytes(100), mtime=0)])
def test_weights_that_are_none(tmp_path, members, content):
    refused(written(tmp_path / "a.keras", members, **{WEIGHTS: content}))


def test_a_sound_file_cut_or_flipped_anywhere_raises_value_error_alone(tmp_path, members):
    whole = written(tmp_path / "whole.keras", members).read_bytes()
    path = tmp_path / "a.keras"
    draw = np.random.default_rng(0)
    for _ in range(60):
        content = bytearray(whole)
        for place in draw.integers(0, len(whole), 3):
            content[place] ^= 1 << draw.integers(8)
        path.write_bytes(content[: draw.integers(1, len(whole) + 1)] if draw.random() < 0.3 else content)
        try:
            with warnings.catch_warnings(action="ignore"):
                kseg.load(path)
        except ValueError as error:
            assert "a.keras: " in str(error)


def test_every_kind_of_variable_is_counted_without_a_value():
    image = keras.Input((32, 32, 3))
    x = keras.layers.Normalization(mean=[1, 2, 3], variance=[1, 1, 1])(image)
    x = keras.layers.RandomFlip(seed=1)(x)
    x = keras.layers.Conv2D(8, 3, padding="same", dtype="mixed_bfloat16")(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.5)(keras.layers.SeparableConv2D(8, 3, padding="same")(x))
    x = keras.layers.GroupNormalization(4)(keras.layers.SpectralNormalization(keras.layers.Conv2D(8, 1))(x))
    x = keras.layers.MultiHeadAttention(2, 4, attention_axes=(1, 2))(x, x)
    for model in (keras.Model(image, x), kseg.build_unet(3, filters=4), kseg.build_ddrnet(3)):
        config = keras.saving.serialize_keras_object(model)
        needed, count, are_all = _needs(json.loads(json.dumps(config)))
        assert are_all and count == len(model.variables)
        assert needed == sum(np.asarray(variable).nbytes for variable in model.variables)


def test_counting_leaves_nothing_behind():
    config = keras.saving.serialize_keras_object(kseg.build_conv_stack(3, depth=1, filters=2))
    config["config"]["layers"][-1]["config"]["filters"] = 10**11
    assert _needs(json.loads(json.dumps(config)))[0] > 1e11
    with keras.StatelessScope():  # whose end gives values to all variables that have none
        pass
    assert kseg.build_conv_stack(3, depth=1, filters=2)(np.zeros((1, 8, 8, 3))).shape == (1, 8, 8, 3)


# what was compiled with things of the user's own


class OwnLoss(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return keras.ops.mean(y_pred)


def own_function(y_true, y_pred):
    return keras.ops.mean(y_pred)


@pytest.mark.parametrize(
    ("compiled", "named"),
    [
        ({"loss": OwnLoss()}, "class 'OwnLoss'"),
        ({"loss": own_function}, "function 'own_function'"),
        ({"loss": "mse", "metrics": [own_function]}, "function 'own_function'"),
        ({"loss": lambda a, b: keras.ops.mean(b)}, "lambda"),
    ],
)
def test_a_model_compiled_with_something_of_ones_own_predicts_without(tmp_path, compiled, named):
    model = kseg.build_conv_stack(3, depth=1, filters=2)
    model.compile("adam", **compiled)
    model.optimizer.build(model.trainable_variables)
    with warnings.catch_warnings(action="ignore"):  # Keras warns of the lambda
        model.save(tmp_path / "own.keras")
    with pytest.warns(UserWarning, match=r"own\.keras: was compiled with what is not known here") as caught:
        loaded = kseg.load(tmp_path / "own.keras")
    assert named in str(caught[0].message) and Path(caught[0].filename).name == Path(__file__).name
    assert not loaded.compiled
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype("uint8")
    np.testing.assert_array_equal(kseg.predict(loaded, image), kseg.predict(model, image))


def test_what_is_known_stays_compiled(tmp_path):
    model = kseg.compile(kseg.build_conv_stack(3, depth=1, filters=2))
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    assert kseg.load(tmp_path / "model.keras").compiled
    model.compile("adam", OwnLoss())
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    with keras.saving.custom_object_scope({"OwnLoss": OwnLoss}):
        assert isinstance(kseg.load(tmp_path / "model.keras").loss, OwnLoss)


@keras.saving.register_keras_serializable("test_loading")
class NeedsValues(keras.layers.Layer):
    """A layer of one's own that computes while it is built."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(1,))
        self.start = float(np.asarray(self.scale)[0])

    def call(self, x):
        return x * self.scale


def test_a_layer_of_ones_own_that_computes_while_it_is_built_is_loaded(tmp_path):
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, NeedsValues()(image))
    model.save(tmp_path / "a.keras")
    np.testing.assert_array_equal(kseg.load(tmp_path / "a.keras").get_weights(), model.get_weights())


# what is no file


def test_a_fifo_is_no_model(tmp_path):
    for name in ("a.keras", "a.tflite", "a.onnx"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(ValueError, match=rf"{name}: is a FIFO, not a file"):
            kseg.predict(tmp_path / name, np.zeros((8, 8, 3), "uint8"))
    with pytest.raises(ValueError, match=r"a\.keras: is a FIFO"):
        kseg.load(tmp_path / "a.keras")
    with pytest.raises(ValueError, match=r"FIFO"):
        train(tmp_path, tmp_path / "run", start_from=tmp_path / "a.keras")
    (tmp_path / "saved/variables").mkdir(parents=True)
    (tmp_path / "saved/saved_model.pb").touch()
    os.mkfifo(tmp_path / "saved/variables/variables.index")
    with pytest.raises(ValueError, match=r"variables\.index: is a FIFO"):
        kseg.predict(tmp_path / "saved", np.zeros((8, 8, 3), "uint8"))


def test_a_report_or_names_that_are_a_fifo(tmp_path):
    (tmp_path / "a.tflite").write_bytes(b"x")
    os.mkfifo(tmp_path / "a.tflite.json")
    with pytest.raises(ValueError, match=r"a\.tflite\.json: is a FIFO"):
        kseg.predict(tmp_path / "a.tflite", np.zeros((8, 8, 3), "uint8"))


def test_a_file_without_permission_is_named(tmp_path, members, monkeypatch):
    path = written(tmp_path / "a.keras", members)
    path.chmod(stat.S_IWUSR)

    def denied(self, mode="r", **_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", denied)  # the superuser may read it
    with pytest.raises(PermissionError, match=r"a\.keras"):
        kseg.load(path)
