"""`kseg check`."""


def test_check_prints_classes_and_every_problem(folder, shell):
    assert shell("check", "--data", folder)[0] == 0
    (folder / "train" / "images" / "1.png").write_bytes(b"no picture")
    (folder / "train" / "masks" / "2.png").write_bytes(b"")
    code, text, _ = shell("check", "--data", folder)
    assert code == 1
    assert "images/1.png: cannot be read as a picture" in text and "masks/2.png: the file is empty" in text
