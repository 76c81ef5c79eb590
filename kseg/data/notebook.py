"""What a notebook shows of a data set."""

from typing import Any

import numpy as np

from kseg import visualization
from kseg.visualization.shown import as_html

_SHOWN = 4  # pictures
_NAMES = 12


def described(dataset: Any) -> str:
    """Return a data set as HTML: how much it holds, its classes, some pictures with their masks.

    Args:
        dataset: `kseg.data.dataset.SegmentationDataset`.
    """
    known, names = vars(dataset), vars(dataset).get("class_names") or []
    lines = []
    if "image_paths" in known:
        lines.append(f"{len(set(known['image_paths']))} pictures")
    count = int(dataset.cardinality().numpy())
    if count >= 0:
        lines.append(f"{count} {'batches' if known.get('batch_size') else 'elements'}")
    if names:
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        lines.append(f"{len(names)} classes: {', '.join(map(str, names[:_NAMES]))}{more}")
    return as_html(type(dataset).__name__, lines, _sheet(dataset, names))


def _sheet(dataset, names):
    """Return some pictures over their masks, `None` where its elements are no such pairs."""
    try:
        batched = len(dataset.element_spec[1].shape) == 3
        items = dataset.take(1 if batched else _SHOWN).as_numpy_iterator()
        pairs = [pair for item in items for pair in (zip(*item, strict=True) if batched else [item])]
        background = visualization.overlays.background_of(names)
        drawn: dict[str, Any] = {"background": background, "hatch_void": True}
        rows = [
            [image, visualization.overlay(image, np.asarray(mask), **drawn)] for image, mask in pairs[:_SHOWN]
        ]
        return visualization.gallery(rows, ["image", "mask"], class_names=names or None, columns=2)
    except Exception:  # of any type: what cannot be shown is still described
        return None
