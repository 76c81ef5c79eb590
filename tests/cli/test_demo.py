"""`kseg demo`."""

import pytest

from kseg.commands.demo import demo


@pytest.mark.slow
def test_demo_leaves_every_file_and_compares_them(tmp_path, capsys):
    results = demo(tmp_path / "demo", train_scenes=24, held_out_scenes=20, epochs=1, filters=2)
    names = {file.name for file in (tmp_path / "demo").iterdir()}
    files = ["model.keras", "saved_model", "float32.tflite", "float16.tflite", "int8.tflite"]
    reports = [f"{name}.json" for name in files if name.endswith(".tflite")]
    assert names == {*files, *reports, "predictions.png"}
    assert list(results) == files
    out = capsys.readouterr().out
    assert "mean IoU" in out and "ms/picture" in out
    with pytest.raises(FileExistsError, match="exists already"):
        demo(tmp_path / "demo")
