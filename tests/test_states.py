"""States on disk: whole or not there, the newest whole one wins, older ones survive a full disk."""

import contextlib
import errno
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from kseg import states

# What a script of a second process starts with: kseg without Keras and TensorFlow, which take seconds.
ALONE = f"""
import sys, types
package, hints = types.ModuleType("kseg"), types.ModuleType("kseg.types")
package.__path__, hints.PathLike = [{str(Path(states.__file__).parent)!r}], str
sys.modules |= {{"kseg": package, "kseg.types": hints}}
"""
ARRAYS = {"model": [np.arange(6.0).reshape(2, 3), np.array(7)], "optimizer": []}


def write(folder, epoch, **facts):
    states.write(folder, epoch, ARRAYS, facts)


def test_a_state_comes_back(tmp_path):
    write(tmp_path, 3, best=float("nan"), name="x")
    state, problems = states.newest(tmp_path)
    assert (state.epoch, problems) == (3, [])
    assert np.isnan(state.facts["best"]) and state.facts["name"] == "x"
    assert [len(state.arrays[group]) for group in ("model", "optimizer")] == [2, 0]
    np.testing.assert_array_equal(state.arrays["model"][0], ARRAYS["model"][0])


def test_without_states_there_is_none(tmp_path):
    assert states.newest(tmp_path / "new") == (None, [])


def test_the_newest_two_stay(tmp_path):
    for epoch in (1, 2, 3, 10):
        write(tmp_path, epoch)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-000003", "epoch-000010"]


@pytest.mark.parametrize("file", ["arrays.npz", "state.json"])
@pytest.mark.parametrize("keep", [0, 0.5, 0.99])
def test_a_torn_state_gives_way_to_the_one_before(tmp_path, file, keep):
    write(tmp_path, 1)
    write(tmp_path, 2)
    torn = tmp_path / "epoch-000002" / file
    torn.write_bytes(torn.read_bytes()[: int(keep * torn.stat().st_size)])
    state, problems = states.newest(tmp_path)
    assert state.epoch == 1
    assert len(problems) == 1 and "epoch-000002 is damaged" in problems[0]
    (tmp_path / "epoch-000001" / file).unlink()
    with pytest.raises(ValueError, match="no state is whole: delete the folder"):
        states.newest(tmp_path)


@pytest.mark.parametrize("text", ["[]", "3", "{}", "[" * 100_000, '{"a":' * 100_000])
def test_a_state_of_something_else_gives_way_to_the_one_before(tmp_path, text):
    write(tmp_path, 1)
    write(tmp_path, 2)
    (tmp_path / "epoch-000002" / "state.json").write_text(text)
    assert states.newest(tmp_path)[0].epoch == 1


def test_a_changed_fact_is_found(tmp_path):
    write(tmp_path, 1, best=0.5)
    path = tmp_path / "epoch-000001" / "state.json"
    path.write_text(path.read_text().replace("0.5", "0.7"))
    with pytest.raises(ValueError, match=r"the checksum of state\.json differs"):
        states.newest(tmp_path)


def test_every_byte_of_the_facts_is_under_the_checksum(tmp_path):
    write(tmp_path, 1, best=0.5, name="x")
    path = tmp_path / "epoch-000001" / "state.json"
    content = path.read_bytes()
    for place in range(len(content)):
        for bit in (0, 5):  # 5: of a letter, its case
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            with pytest.raises(ValueError, match="epoch-000001 is damaged"):
                states.newest(tmp_path)
    for changed in (content + b" ", content[:-1], b" " + content, content.replace(b'": ', b'":')):
        path.write_bytes(changed)
        with pytest.raises(ValueError, match="epoch-000001 is damaged"):
            states.newest(tmp_path)
    path.write_bytes(content)
    assert states.newest(tmp_path)[0].facts == {"best": 0.5, "name": "x"}


def test_a_state_under_another_name_is_none(tmp_path):
    write(tmp_path, 1)
    (tmp_path / "epoch-000001").rename(tmp_path / "epoch-000009")
    with pytest.raises(ValueError, match=r"epoch-000009 is damaged: state\.json is of epoch 1"):
        states.newest(tmp_path)


def test_a_state_that_is_a_fifo_is_not_waited_for(tmp_path):
    write(tmp_path, 1)
    path = tmp_path / "epoch-000001" / "state.json"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ValueError, match="is a FIFO"):
        states.newest(tmp_path)


LOCK = f"""{ALONE}
import os, signal, time
from pathlib import Path
from kseg import states
with states.locked(Path(sys.argv[1])):
    print("held", flush=True)
    os.kill(os.getpid(), signal.SIGKILL) if sys.argv[2] == "dies" else time.sleep(60)
"""


def test_a_holder_that_was_killed_leaves_the_folder_free(tmp_path):
    subprocess.run([sys.executable, "-c", LOCK, tmp_path, "dies"], capture_output=True)
    assert (tmp_path / ".lock").exists()
    with states.locked(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())


def test_a_folder_that_was_moved_is_still_held(tmp_path):
    (tmp_path / "run").mkdir()
    command = [sys.executable, "-c", LOCK, tmp_path / "run", "stays"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        (tmp_path / "run").rename(tmp_path / "moved")
        held = pytest.raises(RuntimeError, match=f"moved is in use by process {holder.pid}")
        with held, states.locked(tmp_path / "moved"):
            pass
        with states.locked(tmp_path / "run"):  # another folder now
            pass
        holder.kill()
    with states.locked(tmp_path / "moved"):
        pass


def test_who_ends_after_its_folder_was_moved_leaves_the_lock_of_another(tmp_path):
    with contextlib.ExitStack() as others:
        with states.locked(tmp_path / "run"):
            (tmp_path / "run").rename(tmp_path / "moved")
            others.enter_context(states.locked(tmp_path / "run"))
        with pytest.raises(RuntimeError, match="run is in use"), states.locked(tmp_path / "run"):
            pass


def test_a_lock_that_cannot_be_written_says_its_path(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    held = states.locked(tmp_path)
    with pytest.raises(OSError, match=r"\.lock: the lock was not written \(No space left"), held:
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["symbolic link", "FIFO", "folder", "socket"])
def test_what_is_no_lock_is_named_and_left(tmp_path, monkeypatch, kind):
    lock, other = tmp_path / "run" / ".lock", tmp_path / "other"
    lock.parent.mkdir()
    other.write_text("mine")
    monkeypatch.chdir(lock.parent)  # names of sockets are short

    def bind():
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(".lock")

    {
        "symbolic link": lambda: lock.symlink_to(other),
        "FIFO": lambda: os.mkfifo(lock),
        "folder": lock.mkdir,
        "socket": bind,
    }[kind]()
    before = lock.lstat()
    held = states.locked(lock.parent)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(lock))}: is a {kind}, .*; remove it$"), held:
        pass
    assert os.path.samestat(before, lock.lstat()) and other.read_text() == "mine"


def test_one_of_many_holds_a_folder(tmp_path):
    """Threads open the file anew, as processes do; each holds it for a moment and removes it."""
    inside, most, taken = [], [], []

    def work():
        for _ in range(60):
            try:
                with states.locked(tmp_path):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
                    taken.append(1)
            except RuntimeError:
                pass

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert taken and max(most) == 1


def test_a_state_travels_as_bytes(tmp_path):
    write(tmp_path, 3, best=0.5)
    state, _ = states.newest(tmp_path)
    again = states.from_bytes(states.to_bytes(state))
    assert (again.path, again.epoch, again.facts) == (state.path, state.epoch, state.facts)
    np.testing.assert_array_equal(again.arrays["model"][0], ARRAYS["model"][0])
    assert states.from_bytes(states.to_bytes(None)) is None


def test_a_flipped_bit_is_found(tmp_path):
    write(tmp_path, 1)
    path = tmp_path / "epoch-000001" / "arrays.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"the checksum of arrays\.npz differs"):
        states.newest(tmp_path)


@pytest.mark.parametrize("step", ["rename", "mkdir"])
def test_a_write_that_fails_leaves_the_one_before(tmp_path, monkeypatch, step):
    write(tmp_path, 1)

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"pathlib.Path.{step}", fail)
    with pytest.raises(
        OSError, match=r"epoch-000002.*it needs .* MB are free; older states are as they were"
    ):
        write(tmp_path, 2)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-000001"]
    assert states.newest(tmp_path)[0].epoch == 1


FULL_DISK = f"""{ALONE}
import resource, signal
import numpy as np
from pathlib import Path
from kseg import states
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    states.write(Path(sys.argv[1]), 2, {{"model": [np.zeros(100_000)]}}, {{}})
except OSError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_one_before(tmp_path):
    write(tmp_path, 1)
    done = subprocess.run([sys.executable, "-c", FULL_DISK, tmp_path], capture_output=True, text=True)
    assert "epoch-000002: the training state was not written (File too large): it needs 0.8 MB" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-000001"]
    assert states.newest(tmp_path)[0].epoch == 1


def test_a_folder_without_permission_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        write(tmp_path / "file", 1)


class Killed(BaseException):
    """Ends a write as SIGKILL does: nothing catches it, nothing is cleared away."""


@pytest.mark.parametrize("moment", range(1, 10))
def test_killed_while_it_writes_it_leaves_the_one_before_or_the_whole_one(tmp_path, monkeypatch, moment):
    """At each call that changes something on the disk, in their order; there are nine."""
    write(tmp_path, 2, best=1)
    calls = []

    def counted(function):
        def call(*args, **kwargs):
            calls.append(function)
            if len(calls) == moment:
                raise Killed
            return function(*args, **kwargs)

        return call

    for owner, name in ((os, "fsync"), (Path, "rename"), (Path, "mkdir"), (states.shutil, "rmtree")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    with pytest.raises(Killed):
        write(tmp_path, 3, best=2)
    monkeypatch.undo()
    state, problems = states.newest(tmp_path)
    assert problems == []
    assert (state.epoch, state.facts["best"]) in ((2, 1), (3, 2))
    write(tmp_path, 3, best=3)  # and the next life writes as ever
    assert states.newest(tmp_path)[0].facts["best"] == 3


HOLD = f"""{ALONE}
from pathlib import Path
from kseg import states
with states.locked(Path(sys.argv[1])):
    pass
"""


def test_a_folder_is_held_by_one_process(tmp_path):
    (tmp_path / "states" / ".partial-1").mkdir(parents=True)
    (tmp_path / "own" / ".partial-notes").mkdir(parents=True)
    (tmp_path / ".model-77.keras").write_bytes(b"half")
    with states.locked(tmp_path):
        assert not (tmp_path / "states" / ".partial-1").exists()
        assert not (tmp_path / ".model-77.keras").exists()
        assert (tmp_path / "own" / ".partial-notes").exists()
        done = subprocess.run([sys.executable, "-c", HOLD, tmp_path], capture_output=True, text=True)
        assert f"is in use by process {os.getpid()}" in done.stderr
    with states.locked(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"own", "states"}
