"""The second process: answers, errors, crashes, and what it does when its parent is killed."""

import math
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kseg import sandbox
from kseg.sandbox import main


def test_one_process_serves_all_jobs():
    assert sandbox.call(os.getpid) == sandbox.call(os.getpid) != os.getpid()


def test_errors_of_jobs_come_back_and_the_child_lives_on():
    before = sandbox.call(os.getpid)
    with pytest.raises(sandbox.JobFailed, match="math domain error"):
        sandbox.call(math.sqrt, -1)
    with pytest.raises(FileNotFoundError):
        sandbox.call(os.stat, "/nowhere")
    assert sandbox.call(os.getpid) == before


def test_a_crash_is_an_error_with_the_signal_and_the_next_job_gets_a_new_child():
    before = sandbox.call(os.getpid)
    with pytest.raises(sandbox.ChildDied, match="signal 6, SIGABRT"):
        sandbox.call(os.abort)
    assert sandbox.call(os.getpid) != before
    with pytest.raises(sandbox.ChildDied, match="exit code 3"):
        sandbox.call(os._exit, 3)


def test_a_folder_that_is_guarded_goes_when_the_parent_does(tmp_path):
    guarded, released = tmp_path / "guarded", tmp_path / "released"
    here, there = multiprocessing.Pipe()
    script = Path(main.__file__)
    process = subprocess.Popen(
        [sys.executable, "-P", str(script), str(there.fileno())], pass_fds=[there.fileno()]
    )
    there.close()
    for folder in (guarded, released):
        folder.mkdir()
        here.send((True, main.guard, (str(folder),)))
        assert here.recv() == ("value", None)
    here.send((False, main.release, (str(released),)))
    here.close()  # what the system does when the parent is killed
    assert process.wait(timeout=30) == 0
    assert not guarded.exists() and released.exists()
