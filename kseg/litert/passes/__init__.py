"""Operators of `.tflite` files, written as others that give the same sooner."""

from collections.abc import Callable
from typing import Any

from kseg.litert.graph import packed, parsed
from kseg.litert.passes.dilations import join_dilations
from kseg.litert.passes.doublings import double_by_copies
from kseg.litert.passes.idle_taps import drop_idle_taps
from kseg.litert.passes.relus import end_adds_in_relus
from kseg.litert.passes.scale import fold_scale


def rewritten(content: bytes, skipped: list[str] | None = None) -> bytes:
    """Return a `.tflite` file that gives the same sooner, on more devices.

    A pass speeds up and is not needed: one that cannot read what another TensorFlow wrote changes nothing.

    Args:
        content: bytes; they come back as they are if there is nothing to gain. Of an int8 file, the float one
            with the ranges of calibration comes here first, for kernels in float take factors in.
        skipped: `None` or a list, to which the passes that raised are added, each with its reason.
    """
    passes = {
        "join_dilations": lambda graphs: sum(map(join_dilations, graphs)),
        "fold_scale": lambda graphs: fold_scale(graphs[0]),
        "end_adds_in_relus": lambda graphs: sum(map(end_adds_in_relus, graphs)),
        "drop_idle_taps": lambda graphs: sum(map(drop_idle_taps, graphs)),
        "double_by_copies": lambda graphs: sum(map(double_by_copies, graphs)),
    }
    try:
        return _changed(content, *passes.values())
    except Exception:  # now one by one: the others may work
        for name, change in passes.items():
            content = attempted(name, lambda each, change=change: _changed(each, change), content, skipped)
        return content


def attempted(
    name: str, change: Callable[..., bytes], content: bytes, skipped: list[str] | None, *given: Any
) -> bytes:
    """Return `change(content, *given)`, or the bytes as they were where that raises; it is then skipped."""
    try:
        return change(content, *given)
    except Exception as error:  # tables that are missing, codes and types that are not known here
        if skipped is not None:
            reason = str(error).strip().splitlines()[:1]
            skipped.append(": ".join([name, type(error).__name__, *reason]))
        return content


def _changed(content, *changes):
    """Return a file after changes of its graphs, each of which tells how much it changed."""
    model, graphs = parsed(content)
    return packed(model) if sum(change(graphs) for change in changes) else content
