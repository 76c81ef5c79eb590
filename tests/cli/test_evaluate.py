"""`kseg evaluate`."""

from PIL import Image


def test_evaluate_shows_a_model_and_its_files_side_by_side(trained, exported, shell):
    code, text, err = shell("evaluate", *exported, "--data", trained / "data")
    assert code == 0, err
    mean = next(line for line in text.splitlines() if line.startswith("mean IoU")).split()[2:]
    assert len(mean) == 4 and mean[0] == mean[1] == mean[2]


def test_evaluate_names_the_mask_with_an_unknown_id(trained, folder, refused):
    Image.new("L", (64, 48), 77).save(folder / "val" / "masks" / "2.png")
    line = refused("evaluate", trained / "run" / "model.keras", "--data", folder)
    assert "val/masks/2.png" in line and "77" in line and "label_map" in line
