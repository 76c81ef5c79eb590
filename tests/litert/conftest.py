import pytest

from kseg import sandbox


@pytest.fixture
def in_process(monkeypatch):
    """Let jobs of the child run in this process, where a test can replace what they call."""
    monkeypatch.setattr(sandbox, "call", lambda function, *arguments: function(*arguments))
