"""Pictures with a place on the earth and pictures beyond memory: what goes in comes out at the same place."""

import json
from functools import partial

import numpy as np
import pytest
import rasterio
import tifffile
from rasterio.transform import from_origin

import kseg
from kseg.commands.predict import predict_files


def write_geotiff(path, pixels, *, nodata=None, **options):
    """Write a picture `(H, W, C)` with UTM coordinates, half a metre a pixel."""
    where = {"crs": "EPSG:32633", "transform": from_origin(412_000.5, 5_650_123.25, 0.5, 0.5)}
    shape = {
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "count": pixels.shape[2],
        "dtype": pixels.dtype,
    }
    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    with rasterio.open(
        path, "w", driver="GTiff", nodata=nodata, **shape, **tiles, **(where | options)
    ) as file:
        file.write(np.moveaxis(pixels, -1, 0))
    return path


def note(told, *counts):
    """Note how many windows are done."""
    told.append(counts)


def noise(size, channels=3, seed=0):
    return np.random.default_rng(seed).integers(1, 256, (*size, channels), dtype="uint8")


@pytest.fixture
def beyond_memory(monkeypatch):
    """Makes pictures of more than 20,000 pixels count as beyond memory."""
    for module in ("kseg.data.headers", "kseg.results.on_a_map"):
        monkeypatch.setattr(f"{module}.MAX_PIXELS", 20_000)


@pytest.mark.parametrize("large", [False, True])
def test_a_geotiff_comes_back_at_its_place(model_file, tmp_path, large, request):
    pixels = noise((150, 200))
    write_geotiff(tmp_path / "field.tif", pixels)
    if large:
        request.getfixturevalue("beyond_memory")
    kinds = ["mask", "overlay", "confidence"] + ([] if large else ["polygons"])
    predict_files(model_file, tmp_path / "field.tif", tmp_path / "out", save=kinds, window=(64, 96))
    with (
        rasterio.open(tmp_path / "field.tif") as source,
        rasterio.open(tmp_path / "out" / "field.tif") as mask,
    ):
        assert mask.crs == source.crs
        assert mask.transform == source.transform
        assert mask.bounds == source.bounds
        assert (mask.width, mask.height, mask.count, mask.dtypes) == (200, 150, 1, ("uint8",))
        assert mask.nodata == 255
        assert mask.colormap(1)[1][:3] == tuple(kseg.visualization.palette(2)[1])
        found = mask.read(1)
    np.testing.assert_array_equal(found, kseg.predict(model_file, pixels, window=(64, 96)))
    with rasterio.open(tmp_path / "out" / "field_confidence.tif") as file:
        expected = kseg.predict(model_file, pixels, window=(64, 96), output_kind="confidence")
        np.testing.assert_allclose(file.read(1) / 255, expected, atol=0.51 / 255)
    assert (tmp_path / "out" / "field_overlay.png").is_file()
    if not large:
        told = json.loads((tmp_path / "out" / "field.geojson").read_text())
        points = np.concatenate([ring for f in told["features"] for ring in f["geometry"]["coordinates"]])
        assert 13 < points[:, 0].min() < points[:, 0].max() < 15  # degrees east, zone 33
        assert 50 < points[:, 1].min() < points[:, 1].max() < 52
        assert "coordinates" not in told


@pytest.mark.parametrize("large", [False, True])
def test_what_holds_no_data_is_no_class(model_file, tmp_path, large, request):
    pixels = noise((150, 200))
    pixels[20:60, 30:90] = 0
    write_geotiff(tmp_path / "field.tif", pixels, nodata=0)
    if large:
        request.getfixturevalue("beyond_memory")
    predict_files(model_file, tmp_path / "field.tif", tmp_path / "out", window=(64, 64))
    with rasterio.open(tmp_path / "out" / "field.tif") as mask:
        np.testing.assert_array_equal(mask.read(1) == 255, (pixels == 0).all(-1))


def test_numbers_that_are_nan_where_there_is_no_data_are_no_error(tmp_path):
    model = kseg.with_value_range(kseg.build_conv_stack(3, (None, None, 2), depth=1, filters=4), (0, 1))
    model.save(tmp_path / "m.keras")
    bands = np.random.default_rng(0).random((40, 50, 2)).astype("float32")
    bands[5:9, 5:9] = np.nan
    write_geotiff(tmp_path / "b.tif", bands, nodata=np.nan)
    predict_files(tmp_path / "m.keras", tmp_path / "b.tif", tmp_path / "out")
    with rasterio.open(tmp_path / "out" / "b.tif") as mask:
        found = mask.read(1)
    assert (found[5:9, 5:9] == 255).all()
    expected = kseg.predict(tmp_path / "m.keras", np.nan_to_num(bands) * 255)
    np.testing.assert_array_equal(found[20:], expected[20:])


def test_control_points_and_alpha_are_kept(model_file, tmp_path):
    points = [
        rasterio.control.GroundControlPoint(r, c, 10 + c, 50 - r)
        for r, c in ((0, 0), (0, 50), (40, 0), (40, 50))
    ]
    pixels = np.concatenate([noise((40, 50)), np.full((40, 50, 1), 255, "uint8")], -1)
    pixels[:10, :10, 3] = 0
    options = {
        "driver": "GTiff",
        "height": 40,
        "width": 50,
        "count": 4,
        "dtype": "uint8",
        "photometric": "RGB",
    }
    with rasterio.open(tmp_path / "p.tif", "w", gcps=points, crs="EPSG:4326", alpha="YES", **options) as file:
        file.write(np.moveaxis(pixels, -1, 0))
    predict_files(model_file, tmp_path / "p.tif", tmp_path / "out")
    with rasterio.open(tmp_path / "out" / "p.tif") as mask:
        assert [(p.row, p.col, p.x, p.y) for p in mask.gcps[0]] == [(p.row, p.col, p.x, p.y) for p in points]
        found = mask.read(1)
    assert (found[:10, :10] == 255).all()
    np.testing.assert_array_equal(found[10:], kseg.predict(model_file, pixels[..., :3])[10:])


def test_a_mask_beyond_memory_is_a_tiled_tiff(model_file, tmp_path, beyond_memory):
    pixels = noise((700, 600))
    tifffile.imwrite(tmp_path / "large.tif", pixels, tile=(128, 128), compression="zlib")
    np.save(tmp_path / "numbers.npy", pixels)
    expected = kseg.predict(model_file, pixels, window=(128, 128))
    for name in ("large.tif", "numbers.npy"):
        told = []
        options = {"window": (128, 128), "progress": partial(note, told)}
        predict_files(model_file, tmp_path / name, tmp_path / name.replace(".", "_"), **options)
        assert told == [(number, len(told)) for number in range(1, len(told) + 1)]
        assert len(told) == 10 * 9  # windows of a picture of 700 × 600
        out = tmp_path / name.replace(".", "_")
        assert sorted(path.suffix for path in out.iterdir()) == [".png", ".tif"]
        (path,) = out.glob("*.tif")
        with tifffile.TiffFile(path) as file:
            assert file.pages[0].is_tiled
            np.testing.assert_array_equal(file.asarray(), expected)
            assert file.pages[0].colormap is not None


def test_what_needs_all_of_a_picture_beyond_memory_is_refused(model_file, tmp_path, beyond_memory):
    np.save(tmp_path / "numbers.npy", noise((200, 200)))
    for options in ({"save": ["probabilities"]}, {"min_region": 5}, {"crf": True}):
        with pytest.raises(ValueError, match=r"beyond memory|all of it"):
            predict_files(model_file, tmp_path / "numbers.npy", tmp_path / "out", window=(64, 64), **options)
    assert not list(tmp_path.glob("out/*"))


def test_a_geotiff_that_is_cut_short_is_named(model_file, tmp_path):
    (tmp_path / "maps").mkdir()
    path = write_geotiff(tmp_path / "maps" / "field.tif", noise((150, 200)), compress="deflate")
    path.write_bytes(path.read_bytes()[:-40_000])
    found = predict_files(model_file, tmp_path / "maps", tmp_path / "out")
    assert found.failed == 1
    assert "field.tif" in found.failed_list.read_text()
    assert not list((tmp_path / "out").glob("*.tif"))


@pytest.mark.parametrize("kind", ["palette", "white is zero", "16 bits", "grey", "one bit"])
def test_kinds_of_geotiffs_are_read_as_without_a_place(model_file, tmp_path, kind, ids_on_map):
    """What the numbers of a file mean is no question of its place."""
    pixels = noise((40, 50), 1)
    path, options = tmp_path / "p.tif", {}
    if kind == "palette":
        pixels //= 16
        write_geotiff(path, pixels, photometric="palette")
        with rasterio.open(path, "r+") as file:
            file.write_colormap(1, {number: (255 - 9 * number, 7 * number, 90, 255) for number in range(16)})
    else:
        if kind == "16 bits":
            pixels = pixels.astype("uint16") * 257
        if kind == "white is zero":
            options = {"photometric": "miniswhite"}
        if kind == "one bit":
            pixels, options = pixels // 128, {"nbits": 1}
        write_geotiff(path, pixels, **options)
    expected = kseg.predict(model_file, path)
    predict_files(model_file, path, tmp_path / "out")
    np.testing.assert_array_equal(ids_on_map(tmp_path / "out" / "p.tif"), expected)


def test_12_bits_are_refused_with_a_place_as_without(model_file, tmp_path):
    write_geotiff(tmp_path / "p.tif", noise((40, 50)).astype("uint16") * 16)
    with pytest.raises(ValueError, match=r"p\.tif: .*keeps no range of its picture files"):
        predict_files(model_file, tmp_path / "p.tif", tmp_path / "out")


@pytest.mark.parametrize(
    "transform",
    [
        rasterio.Affine(0.5, 0, 412_000, 0, 0.5, 5_650_000),  # south up
        rasterio.Affine(0.4, 0.3, 412_000, 0.3, -0.4, 5_650_000),  # turned
    ],
)
@pytest.mark.parametrize("crs", ["EPSG:32633", None])
def test_turned_maps_and_maps_without_a_system_keep_their_place(
    model_file, tmp_path, transform, crs, ids_on_map
):
    pixels = noise((40, 50))
    write_geotiff(tmp_path / "p.tif", pixels, transform=transform, crs=crs)
    predict_files(model_file, tmp_path / "p.tif", tmp_path / "out", save=["mask", "polygons"])
    with rasterio.open(tmp_path / "out" / "p.tif") as mask:
        assert mask.transform == transform
        assert mask.crs == crs
    np.testing.assert_array_equal(ids_on_map(tmp_path / "out" / "p.tif"), kseg.predict(model_file, pixels))
    told = json.loads((tmp_path / "out" / "p.geojson").read_text())
    assert ("coordinates" in told) == (crs is None)


@pytest.fixture
def ids_on_map():
    """A function that returns the ids in a GeoTIFF."""

    def read(path):
        with rasterio.open(path) as file:
            return file.read(1)

    return read


def test_no_data_of_several_labels_and_regions_beside_it(tmp_path, model_file, ids_on_map):
    model = kseg.build_conv_stack(3, depth=1, filters=4, activation="sigmoid")
    model.save(tmp_path / "m.keras")
    pixels = noise((40, 50))
    pixels[:10] = 0
    write_geotiff(tmp_path / "p.tif", pixels, nodata=0)
    kinds = ["mask", "confidence"]
    predict_files(tmp_path / "m.keras", tmp_path / "p.tif", tmp_path / "out", save=kinds, multilabel=True)
    found = np.load(tmp_path / "out" / "p.npy")
    assert not found[:10].any()
    np.testing.assert_array_equal(found[10:], kseg.predict(model, pixels, multilabel=True)[10:])
    assert not ids_on_map(tmp_path / "out" / "p_confidence.tif")[:10].any()
    predict_files(model_file, tmp_path / "p.tif", tmp_path / "clean", min_region=2000)
    assert (ids_on_map(tmp_path / "clean" / "p.tif")[:10] == 255).all()


def test_one_map_that_gdal_cannot_place_does_not_end_the_folder(model_file, tmp_path):
    (tmp_path / "maps").mkdir()
    local = 'LOCAL_CS["site",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]'
    write_geotiff(tmp_path / "maps" / "a.tif", noise((20, 30)), crs=local)
    write_geotiff(tmp_path / "maps" / "b.tif", noise((20, 30)))
    found = predict_files(model_file, tmp_path / "maps", tmp_path / "out", save=["polygons"])
    assert (found.done, found.failed) == (1, 1)


def test_infinite_numbers_are_an_error_beside_no_data_too(tmp_path):
    model = kseg.with_value_range(kseg.build_conv_stack(3, (None, None, 2), depth=1, filters=4), (0, 1))
    model.save(tmp_path / "m.keras")
    bands = np.full((40, 50, 2), 0.5, "float32")
    bands[3, 3] = np.inf
    write_geotiff(tmp_path / "b.tif", bands, nodata=-1)
    with pytest.raises(ValueError, match="NaN or infinite"):
        predict_files(tmp_path / "m.keras", tmp_path / "b.tif", tmp_path / "out")
