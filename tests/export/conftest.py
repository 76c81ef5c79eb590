import pytest

from kseg import child


@pytest.fixture
def in_process(monkeypatch):
    """Let jobs of the child run in this process, where a test can replace what they call."""
    monkeypatch.setattr(child, "call", lambda function, *arguments: function(*arguments))
