"""Files one can look at: palette PNGs, probabilities, confidence, polygons; clean masks; videos."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

import kseg
from kseg.cli import main
from kseg.commands.predict import predict_files
from kseg.inference.video import frames_of, write_video
from kseg.results.masks import picture_of_ids
from kseg.results.regions import cleaned, regions_of

SMALL = arrays(
    "uint8", st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 1, 2, 255])
)


def test_a_mask_has_a_palette_and_keeps_every_id(tmp_path):
    ids = np.arange(256, dtype="uint8").reshape(16, 16)
    picture_of_ids(ids).save(tmp_path / "m.png")
    with Image.open(tmp_path / "m.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), ids)
        colors = np.asarray(image.convert("RGB")).reshape(-1, 3)
    assert len({tuple(color) for color in colors[:20].tolist()}) == 20
    np.testing.assert_array_equal(colors[:20], kseg.visualization.palette(20))
    picture_of_ids(ids.astype("uint16") * 200).save(tmp_path / "d.png")
    with Image.open(tmp_path / "d.png") as image:
        np.testing.assert_array_equal(np.asarray(image), ids.astype("uint16") * 200)
    with pytest.raises(ValueError, match="16 bits"):
        picture_of_ids(np.full((2, 2), 70_000, "uint32"))


def test_a_mask_is_read_as_a_mask_again(model_file, pictures, tmp_path):
    root = pictures(2)
    predict_files(model_file, root, tmp_path / "out", save=["mask"])
    pairs = kseg.data.from_files(
        [root / "000.png"], [tmp_path / "out" / "000.png"], class_names=["a", "b", "c"]
    )
    ((_, mask),) = [(image, mask) for image, mask in pairs]
    np.testing.assert_array_equal(mask[0], kseg.predict(model_file, root / "000.png"))


def test_all_kinds_of_files_hold_what_predict_gives(model_file, pictures, tmp_path, ids_of):
    picture, out = pictures(1) / "000.png", tmp_path / "out"
    kinds = ["mask", "overlay", "contours", "probabilities", "confidence", "polygons"]
    words = [
        "predict",
        model_file,
        picture,
        "--output",
        out,
        "--classes",
        "ground,<road>,sky",
        "--save",
        *kinds,
    ]
    assert main([str(word) for word in words]) == 0
    expected = kseg.predict(model_file, picture)
    probabilities = kseg.predict(model_file, picture, output_kind="probabilities")
    np.testing.assert_array_equal(ids_of(out / "000.png"), expected)
    np.testing.assert_allclose(np.load(out / "000.npy"), probabilities, atol=1e-6)
    np.testing.assert_allclose(
        ids_of(out / "000_confidence.png") / 255, probabilities.max(-1), atol=0.51 / 255
    )
    assert ids_of(out / "000_contours.png").shape == (20, 30, 3)
    told = json.loads((out / "000.geojson").read_text())
    painted = np.full(expected.shape, 255, "uint8")
    import rasterio.features

    for feature in told["features"]:
        number = feature["properties"]["class"]
        assert feature["properties"]["name"] == ["ground", "<road>", "sky"][number]
        shape, identity = [feature["geometry"]], rasterio.Affine.identity()
        inside = rasterio.features.geometry_mask(shape, expected.shape, identity, invert=True)
        assert inside.sum() == feature["properties"]["pixels"]
        painted[inside] = number
        assert feature["properties"]["confidence"] == pytest.approx(
            probabilities.max(-1)[inside].mean(), abs=1e-3
        )
    np.testing.assert_array_equal(painted, expected)
    predict_files(model_file, picture, tmp_path / "half", save="probabilities16")
    assert np.load(tmp_path / "half" / "000.npy").dtype == "float16"


@given(SMALL)
def test_regions_are_those_of_a_flood(ids):
    labels, counts = regions_of(ids)
    assert counts.sum() == ids.size
    seen = -np.ones(ids.shape, int)
    number = 0
    for start in np.ndindex(ids.shape):
        if seen[start] >= 0:
            continue
        stack = [start]
        seen[start] = number
        while stack:
            row, column = stack.pop()
            for each in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
                inside = 0 <= each[0] < ids.shape[0] and 0 <= each[1] < ids.shape[1]
                if inside and seen[each] < 0 and ids[each] == ids[start]:
                    seen[each] = number
                    stack.append(each)
        number += 1
    assert number == len(counts)
    assert len({*zip(labels.ravel().tolist(), seen.ravel().tolist(), strict=True)}) == number
    assert sorted(counts) == sorted(np.bincount(seen.ravel()))


@given(SMALL, st.integers(0, 12))
@settings(deadline=None)
def test_small_regions_take_the_class_of_what_is_near(ids, pixels):
    found = cleaned(ids, min_region=pixels)
    labels, counts = regions_of(ids)
    large = counts[labels] >= pixels
    np.testing.assert_array_equal(found[large | (ids == 255)], ids[large | (ids == 255)])
    if (large & (ids != 255)).any():
        assert set(np.unique(found)) <= set(np.unique(ids[large])) | {255}
        assert ((found == 255) == (ids == 255)).all()


@given(SMALL, st.integers(1, 60))
@settings(deadline=None)
def test_holes_are_filled_and_nothing_else(ids, pixels):
    found = cleaned(ids, fill_holes=pixels)
    changed = found != ids
    assert not changed[0].any()
    assert not changed[:, -1].any()
    assert not (found[changed] == 255).any()
    assert not (ids[changed] == 255).any()
    once_more = cleaned(found, fill_holes=pixels)
    np.testing.assert_array_equal(once_more, found)


def test_a_ring_is_filled_and_a_hole_in_a_hole_too():
    ids = np.zeros((9, 9), "uint8")
    ids[1:8, 1:8] = 1
    ids[3:6, 3:6] = 2
    ids[4, 4] = 0
    assert set(np.unique(cleaned(ids, fill_holes=1)[1:8, 1:8])) == {1, 2}
    assert set(np.unique(cleaned(ids, fill_holes=9)[1:8, 1:8])) == {1}


def test_unsure_pixels_become_void(model_file, pictures, tmp_path, ids_of):
    picture = pictures(1) / "000.png"
    confidence = kseg.predict(model_file, picture, output_kind="confidence")
    bound = float(np.median(confidence))
    predict_files(model_file, picture, tmp_path / "out", min_confidence=bound)
    found, expected = ids_of(tmp_path / "out" / "000.png"), kseg.predict(model_file, picture)
    np.testing.assert_array_equal(found, np.where(confidence < bound, 255, expected))


def test_a_video_gives_a_folder_of_masks_and_a_video_of_overlays(model_file, tmp_path, ids_of):
    frames = [np.full((32, 48, 3), value, "uint8") for value in (40, 120, 200)]
    (tmp_path / "films").mkdir()
    write_video(tmp_path / "films" / "clip.mp4", frames, 10.0)
    (tmp_path / "films" / "bad.avi").write_bytes(b"none")
    found = predict_files(model_file, tmp_path / "films", tmp_path / "out")
    assert (found.done, found.failed) == (1, 1)
    names = [f"{number:06}.png" for number in range(3)]
    assert sorted(path.name for path in (tmp_path / "out" / "clip").iterdir()) == names
    decoded = [frame for _, frame in frames_of(tmp_path / "films" / "clip.mp4")]
    for name, frame in zip(names, decoded, strict=True):
        np.testing.assert_array_equal(
            ids_of(tmp_path / "out" / "clip" / name), kseg.predict(model_file, frame)
        )
    assert len(list(frames_of(tmp_path / "out" / "clip_overlay.mp4"))) == 3
    assert predict_files(model_file, tmp_path / "films", tmp_path / "out").skipped == 1


def test_several_labels_go_into_an_array(tmp_path, pictures):
    model = kseg.build_conv_stack(3, depth=1, filters=4, activation="sigmoid")
    model.save(tmp_path / "m.keras")
    root = pictures(2)
    predict_files(
        tmp_path / "m.keras", root, tmp_path / "out", save=["mask", "overlay", "confidence"], multilabel=True
    )
    found = np.load(tmp_path / "out" / "000.npy")
    np.testing.assert_array_equal(found, kseg.predict(model, root / "000.png", multilabel=True))


def test_models_are_averaged_in_the_shell(model_file, pictures, tmp_path, ids_of):
    kseg.build_conv_stack(3, depth=1, filters=4).save(tmp_path / "second.keras")
    picture = pictures(1) / "000.png"
    words = [
        "predict",
        model_file,
        picture,
        "--output",
        tmp_path / "out",
        "--average",
        tmp_path / "second.keras",
    ]
    words += ["--tta-flip", "--tta-scales", "1,2", "--window", "16x16", "--overlap", "0.25"]
    assert main([str(word) for word in words]) == 0
    expected = kseg.predict(
        [model_file, tmp_path / "second.keras"],
        picture,
        tta={"flip": True, "scales": (1, 2)},
        window=(16, 16),
        overlap=0.25,
    )
    np.testing.assert_array_equal(ids_of(tmp_path / "out" / "000.png"), expected)


def test_a_video_beside_a_folder_of_its_name_is_refused(model_file, tmp_path):
    write_video(tmp_path / "clip.mp4", [np.zeros((32, 48, 3), "uint8")] * 3, 10.0)
    root = tmp_path / "v"
    (root / "clip").mkdir(parents=True)
    (tmp_path / "clip.mp4").rename(root / "clip.mp4")
    Image.new("RGB", (8, 8)).save(root / "clip" / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: would lie among the frames of .*clip\.mp4"):
        predict_files(model_file, root, tmp_path / "out")


def test_a_video_that_is_cut_short_is_none(model_file, tmp_path, monkeypatch):
    write_video(tmp_path / "clip.mp4", [np.zeros((32, 48, 3), "uint8")] * 5, 10.0)
    monkeypatch.setattr("kseg.inference.video.frames_in", lambda path: (40, 10.0))
    with pytest.raises(ValueError, match="5 of 40 frames"):
        predict_files(model_file, tmp_path / "clip.mp4", tmp_path / "out", save="mask")
    assert not (tmp_path / "out" / "clip").exists()
    with pytest.raises(OSError, match="not all 2 frames"):
        write_video(tmp_path / "other.mp4", [np.zeros((32, 48, 3), "uint8")] * 2, 10.0)


def test_labels_and_their_probabilities_have_names_of_their_own(tmp_path, pictures):
    model = kseg.build_conv_stack(3, depth=1, filters=4, activation="sigmoid")
    model.save(tmp_path / "m.keras")
    kinds = ["mask", "probabilities"]
    picture = pictures(1) / "000.png"
    predict_files(tmp_path / "m.keras", picture, tmp_path / "out", save=kinds, multilabel=True)
    found = np.load(tmp_path / "out" / "000_mask.npy")
    np.testing.assert_array_equal(found, np.load(tmp_path / "out" / "000.npy") > 0.5)


def test_dark_files_of_a_range_are_no_floats_of_another_scale(tmp_path):
    model = kseg.with_value_range(kseg.build_conv_stack(3, depth=1, filters=4), (0, 4095))
    dark = np.full((8, 9), 20, "uint16")
    Image.fromarray(dark).save(tmp_path / "dark.png")
    found = kseg.predict(model, tmp_path / "dark.png")
    pixels = np.repeat(dark[..., None] * np.float32(255 / 4095), 3, -1)
    expected = model(pixels[None]).numpy().argmax(-1)[0]
    np.testing.assert_array_equal(found, expected)
    Image.new("L", (9, 8)).save(tmp_path / "mask.png")
    data = kseg.data.from_files(
        [tmp_path / "dark.png"], [tmp_path / "mask.png"], class_names=["a", "b", "c"], value_range=(0, 4095)
    )
    assert kseg.evaluate(model, data).matrix.sum() == 72
