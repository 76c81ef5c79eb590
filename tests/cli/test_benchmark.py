"""`kseg benchmark`."""


def test_benchmark_times_files_side_by_side(exported, shell):
    files = exported[1:]
    code, text, err = shell("benchmark", *files, "--runs", "2", "--threads", "1,2")
    assert code == 0, err
    lines = text.splitlines()
    assert "1 thread, ms" in lines[0] and "2 threads, ms" in lines[0]
    assert [str(path) in line for path, line in zip(files, lines[1:], strict=True)] == [True] * 3
    assert all("48x64" in line for line in lines[1:])
