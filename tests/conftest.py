"""Two logical CPUs, which must be set up before TensorFlow starts, and the CamVid folder."""

import gc
import os
from collections import Counter
from pathlib import Path

import pytest

collect_ignore_glob = ["conftest.py", "*/conftest.py"]  # they hold no doctests, and share one name


def pytest_configure(config):
    """Make two CPUs of one; the process that only hands tests to others need not load TensorFlow."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses"):
        import tensorflow as tf

        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpu, 2 * [tf.config.LogicalDeviceConfiguration()])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark as slow all cases of a test but the first N, where it says `slow_after(N)`."""
    seen = Counter()
    for item in items:
        marker = item.get_closest_marker("slow_after")
        if marker is not None:
            name = item.nodeid.partition("[")[0]
            seen[name] += 1
            if seen[name] > marker.args[0]:
                item.add_marker(pytest.mark.slow)


def pytest_collection_finish():
    """Spare the collector what is imported: `keras.utils.clear_session` takes 0.2 s without this."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def camvid():
    """The folder with CamVid: `KSEG_CAMVID`, else `../shared/data/camvid` beside the repository root."""
    beside = Path(__file__).parents[2] / "shared" / "data" / "camvid"
    folder = Path(os.environ.get("KSEG_CAMVID", beside))
    if not folder.is_dir():
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing(f"{folder} is not there; set KSEG_CAMVID to the folder with CamVid")
    return folder


@pytest.fixture(scope="session")
def shared_data():
    """The folder with data of others: `KSEG_SHARED`, else `../shared/data` beside the repository root."""
    folder = Path(os.environ.get("KSEG_SHARED", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing(f"{folder} is not there; set KSEG_SHARED to the folder with the shared data")
    return folder
