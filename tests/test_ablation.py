"""The ablation's networks differ in just what their names say, and it goes on where it stopped."""

import argparse
import importlib.util
import itertools
import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kseg
from kseg.costs import multiply_adds, parameters

PATH = Path(__file__).parents[1] / "examples" / "ablation.py"
CLASSES = 5


def load():
    spec = importlib.util.spec_from_file_location("ablation", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ablation = load()


@pytest.fixture(scope="module")
def networks():
    """Every network, each made after the same seed as a training makes it."""
    made = {}
    for name, factors in ablation.NETWORKS.items():
        keras.utils.set_random_seed(0)
        made[name] = ablation.build(CLASSES, **factors)
    return made


def encoder_of(model):
    return next(layer for layer in model.layers if isinstance(layer, keras.Model))


def layers_of(model):
    """Name of each layer with weights outside the encoder → the shapes of these."""
    return {
        layer.name: [tuple(weight.shape) for weight in layer.weights]
        for layer in model.layers
        if layer.weights and not isinstance(layer, keras.Model)
    }


@pytest.mark.parametrize("name", ablation.NETWORKS)
def test_a_network_gives_logits_of_the_size_of_the_picture(networks, name):
    scores = networks[name](np.full((1, 45, 67, 3), 90, "uint8"), training=False)
    assert scores.shape == (1, 45, 67, CLASSES)
    assert kseg.graphs.ModelFacts(networks[name]).output_kind == "logits"


@pytest.mark.parametrize("name", ablation.NETWORKS)
def test_all_networks_start_with_the_same_encoder(networks, name):
    base, here = (encoder_of(networks[each]).get_weights() for each in ("base", name))
    assert len(base) > 50
    for expected, found in zip(base, here, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_guide_tells_what_each_row_is():
    guide = (PATH.parent / "guides" / "ablation.md").read_text()
    rows = [*ablation.NETWORKS, *(f"{name}_crf" for name in ablation.WITH_CRF)]
    assert len(rows) == 8
    for name in rows:
        assert f"| `{ablation.heading(name)}` |" in guide
    for column in ablation.HEADINGS[1:]:
        assert f"**{column}**" in guide


def test_the_encoder_is_a_narrow_one():
    encoder = ablation.encoder()
    assert 0.5e6 < parameters(encoder)[0] < 3e6
    # convolutions without bias, two numbers per norm and channel
    widths = [width for width in ablation.WIDTHS.values() for _ in range(4)]
    inputs = [3, 32, 32, *widths[:-1]]
    convolutions = sum(9 * before * after for before, after in zip(inputs, [32, 32, *widths], strict=True))
    steps = list(ablation.WIDTHS.values())
    shortcuts = sum(before * after for before, after in itertools.pairwise(steps))
    norms = 2 * (2 * 32 + sum(widths) + sum(steps[1:]))
    assert parameters(encoder)[0] == convolutions + shortcuts + norms


def test_without_skips_the_decoder_lacks_what_reads_them_and_nothing_else(networks):
    base, without = layers_of(networks["base"]), layers_of(networks["no_skips"])
    reading = {name for name in base if "_skip" in name}
    assert len(reading) == 2 * len(ablation.DECODER_WIDTHS)  # a convolution and its norm at each stride
    assert without == {name: shapes for name, shapes in base.items() if name not in reading}


def test_transposed_convolutions_stand_where_the_base_resizes(networks):
    base, transposed = ({layer.name for layer in networks[name].layers} for name in ("base", "transposed"))
    strides = ablation.DECODER_WIDTHS
    assert base - transposed == {f"decoder_stride{stride}_resize" for stride in strides}
    assert transposed - base == {f"decoder_stride{stride}_upconv" for stride in strides}
    shapes = layers_of(networks["transposed"])
    assert {name: shapes[name] for name in layers_of(networks["base"])} == layers_of(networks["base"])


@pytest.mark.parametrize("stride", [32, 16, 8])
def test_without_a_decoder_there_is_one_layer_behind_the_encoder(networks, stride):
    model = networks[f"stride_{stride}"]
    assert layers_of(model) == {"logits": [(1, 1, ablation.WIDTHS[32], CLASSES), (CLASSES,)]}
    assert model.get_layer("logits_resize").factor == stride


@pytest.mark.parametrize("stride", [16, 8])
def test_dilated_the_encoder_finds_the_coarse_features_between_finer_ones(networks, stride):
    rng = np.random.default_rng(stride)
    picture = rng.integers(0, 256, (1, 96, 128, 3)).astype("float32")
    coarse, fine = (
        encoder_of(networks[f"stride_{each}"])([picture], training=False)[-1].numpy() for each in (32, stride)
    )
    step = 32 // stride
    assert fine.shape[1:3] == (96 // stride, 128 // stride)
    np.testing.assert_allclose(fine[:, ::step, ::step], coarse, rtol=1e-3, atol=1e-4 * np.abs(coarse).max())


def test_what_costs_what(networks):
    names = ("stride_32", "stride_16", "stride_8", "base")
    costs = {name: multiply_adds(networks[name], (96, 128)) for name in names}
    assert costs["stride_32"] < costs["stride_16"] < costs["stride_8"]
    assert costs["stride_32"] < costs["base"] < costs["stride_8"]


def test_minutes_are_those_of_all_parts_of_a_training(tmp_path, monkeypatch):
    now = iter([0.0, 30.0, 100.0, 190.0, 1000.0, 1060.0])
    monkeypatch.setattr(ablation.time, "monotonic", lambda: next(now))
    scenes = kseg.data.shapes(4, (32, 32), batch_size=2, shuffle=True)
    for epochs in (1, 3):  # the second goes on after the first
        model = kseg.compile(kseg.build_conv_stack(6, depth=1, filters=2))
        clock = ablation.TrainingClock(tmp_path / "clock.json")
        resume = kseg.callbacks.ExactResume(tmp_path / "states", scenes, [clock])
        model.fit(scenes, epochs=epochs, shuffle=False, verbose=0, callbacks=[clock, resume])
    assert json.loads((tmp_path / "clock.json").read_text()) == {"epochs": 3, "minutes": 3.0}


def test_the_sheet_shows_where_two_networks_differ_along_a_border():
    picture = keras.Input((None, None, 3))
    right = keras.Model(picture, keras.layers.Conv2D(2, 1)(picture))
    right.set_weights([np.array([[[[0, 1], [0, 0], [0, 0]]]]), np.array([0, -100])])  # by the first channel
    wrong = keras.Model(picture, keras.layers.Conv2D(2, 1, bias_initializer="zeros")(picture))
    wrong.set_weights([np.zeros((1, 1, 3, 2)), np.array([1, 0])])
    masks = np.zeros((2, 64, 96), "int32")
    masks[0, 50:54, 70:74] = 1  # a small thing has most border
    masks[1, 5:9, 3:7] = 1
    masks[1, 30:, 40:] = 255  # void, where all differ
    images = np.zeros((2, 64, 96, 3), "uint8")
    images[masks > 0, 0] = 255
    found = ablation.crops_to_show(right, wrong, tf.data.Dataset.from_tensors((images, masks)))
    assert [mask[crop].shape for _, mask, crop in found] == [(32, 32)] * 2
    for expected, (_, mask, crop) in zip(masks, found, strict=True):
        np.testing.assert_array_equal(mask, expected)
        assert (mask[crop] == 1).sum() == 16


def test_trainings_of_other_settings_are_refused(tmp_path):
    asked = {"data": "scenes", "label_map": {11: 255}, "classes": None, "crop_size": (32, 32), "steps": 4}
    ablation.check_settings(argparse.Namespace(**asked), tmp_path)
    ablation.check_settings(argparse.Namespace(**asked, thin=["ring"]), tmp_path)
    with pytest.raises(SystemExit, match="another --label-map, --steps; give those"):
        ablation.check_settings(argparse.Namespace(**{**asked, "steps": 5, "label_map": {}}), tmp_path)


def small(monkeypatch, folder, *options):
    """Set the ablation to scenes and networks that take seconds; return what runs it."""
    example = load()
    example.SCENES, example.SCENE_SIZE, example.SCENE_BATCH = (16, 4), (32, 32), 8
    arguments = ["ablation.py", "scenes", "--output", str(folder), "--steps", "3", *options]
    monkeypatch.setattr(sys, "argv", arguments)
    return example


def test_an_unknown_thin_class_is_refused_before_anything_is_written(tmp_path, monkeypatch, capsys):
    example = small(monkeypatch, tmp_path / "run", "--thin", "ring", "pole")
    with pytest.raises(SystemExit):
        example.main()
    assert "--thin: no class 'pole'; there are background, disk" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_ablation_runs_goes_on_and_keeps_what_is_finished(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    example = small(monkeypatch, folder, "--only", "no_skips", "base")

    folder.mkdir()
    stale = {
        "mean_iou": 9,
        "mean_boundary_iou": 9,
        "mean_boundary_f1": 9,
        "class_iou": {"ring": 9, "line": 9},
    }
    for name in ("base", "base_crf"):  # of a base.keras that was removed
        (folder / f"{name}_scores.json").write_text(json.dumps(stale))
    (folder / "base.tflite").write_text("old")

    def interrupt(self, epoch, logs=None):
        self.since = 0.0
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(example.TrainingClock, "on_epoch_begin", interrupt)
        example.main()
    assert not (folder / "no_skips.keras").exists()
    capsys.readouterr()

    example.main()
    printed = capsys.readouterr().out
    assert "resuming after epoch 1\n" in printed and "base: epoch 2/2" in printed
    lines = (folder / "ablation.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in lines] == [
        "network",
        "---",
        "no skips",
        "base",
        "base + CRF",
    ]
    sheet = np.asarray(Image.open(folder / "ablation.png"))
    assert sheet.shape[0] == 28 + 4 * 200 and sheet.shape[1] > 5 * 200  # 4 pictures, 5 columns and a legend
    assert not any((folder / "states").iterdir()) and "9.000" not in "".join(lines)

    kept = {path: path.stat().st_mtime_ns for path in folder.glob("*.[kt]*")}
    assert len(kept) == 6  # .keras, .tflite and its record
    example.main()
    printed = capsys.readouterr().out
    assert "epoch" not in printed and "evaluating" not in printed
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    again = (folder / "ablation.md").read_text().splitlines()
    for before, after in zip(lines, again, strict=True):
        assert before.split("|")[:8] == after.split("|")[:8]  # all but the latency
    scored = kseg.evaluate(folder / "base.keras", kseg.data.shapes(4, (32, 32), seed=2))
    assert f"{scored.mean_iou:.3f}" == lines[3].split("|")[2].strip()
