"""The files that are written of a picture: their names, what they need, and how each is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kseg import visualization
from kseg.disk import whole_file, write_whole
from kseg.results.masks import save_mask

KINDS = ("mask", "overlay", "contours", "probabilities", "probabilities16", "confidence", "polygons")
_ENDS = {
    "mask": ".png",
    "overlay": "_overlay.png",
    "contours": "_contours.png",
    "probabilities": ".npy",
    "probabilities16": ".npy",
    "confidence": "_confidence.png",
    "polygons": ".geojson",
}
_ON_A_MAP = {"mask": ".tif", "confidence": "_confidence.tif"}  # of a picture that is large or has a place


@dataclass(frozen=True)
class Look:
    """How results are shown.

    Attributes:
        class_names: one per class.
        multilabel: whether a pixel may have several labels.
        void: the id of what is no class.
    """

    class_names: Sequence[str]
    multilabel: bool = False
    void: int = 255


def targets_of(stem: Path, kinds: Sequence[str], *, on_a_map: bool = False, multilabel: bool = False) -> dict:
    """Return kind → path of the files of a picture.

    Args:
        stem: where they go, and how their names begin.
        kinds: of `KINDS`.
        on_a_map: whether masks are TIFFs.
        multilabel: whether a mask is an array of 0 and 1.
    """
    ends = _ENDS | (_ON_A_MAP if on_a_map else {})
    if multilabel:
        beside = {"probabilities", "probabilities16"} & set(kinds)
        ends |= {"mask": "_mask.npy" if beside else ".npy"}
    return {kind: stem.with_name(f"{stem.name}{ends[kind]}") for kind in kinds}


def needed_outputs(kinds: Sequence[str], min_confidence: float) -> list[str]:
    """Return which output kinds of a model the files need."""
    needed = {"classes"} if set(kinds) - {"probabilities", "probabilities16"} else set()
    if {"probabilities", "probabilities16"} & set(kinds):
        needed |= {"probabilities", "classes"}
    if "confidence" in kinds or min_confidence:
        needed |= {"confidence"}
    return sorted(needed)


def write_results(
    image: np.ndarray,
    found: Mapping[str, np.ndarray],
    targets: Mapping[str, Path],
    look: Look,
    place: Any = None,
) -> None:
    """Write the files of a picture, each whole or not at all.

    Args:
        image: `(H, W, C)`, values 0–255.
        found: of each output kind its array.
        targets: of `targets_of`.
        look: how they are shown.
        place: `kseg.results.geo.Place`, where polygons lie on the earth.

    Raises:
        OSError: if one cannot be written.
    """
    for kind, path in targets.items():
        if kind == "mask":
            save_mask(found["classes"], path)
        elif kind == "overlay":
            shown = shown_ids(found, look)
            save_picture(visualization.overlay(image, shown, names_for(look, shown)), path)
        elif kind == "contours":
            save_picture(visualization.contours(image, shown_ids(found, look)), path)
        elif kind in ("probabilities", "probabilities16"):
            save_array(
                found["probabilities"].astype("float32" if kind == "probabilities" else "float16"), path
            )
        elif kind == "confidence":
            values = found["confidence"]
            save_picture(confidence_picture(values.min(-1) if values.ndim == 3 else values), path)
        else:
            from kseg.results.polygons import features_of  # rasterio finds them

            ids = shown_ids(found, look)
            features = features_of(
                ids, look.class_names, found.get("confidence"), place=place, void=look.void
            )
            write_whole(path, features, "the polygons")


def shown_ids(found: Mapping[str, np.ndarray], look: Look) -> np.ndarray:
    """Return the ids that pictures show: of several labels the likeliest, none where none is on."""
    if not look.multilabel:
        return found["classes"]
    scores = found.get("probabilities", found["classes"])
    return np.where((found["classes"] > 0).any(-1), scores.argmax(-1), 255)


def names_for(look: Look, ids: np.ndarray) -> list[str]:
    """Return a name for each class, numbered where none was given."""
    known = ids[ids != look.void]
    count = max(len(look.class_names), int(known.max(initial=0)) + 1)
    return [*look.class_names, *(f"class {number}" for number in range(len(look.class_names), count))]


def confidence_picture(confidence: np.ndarray) -> np.ndarray:
    """Return probabilities as uint8 grey, 255 where they are 1."""
    return np.round(confidence * 255).astype("uint8")


def save_picture(pixels: np.ndarray, path: Path) -> None:
    """Write a PNG whole or not at all."""
    with whole_file(path, "the picture") as partial:
        Image.fromarray(pixels).save(partial, format="PNG")


def save_array(values: np.ndarray, path: Path) -> None:
    """Write a `.npy` whole or not at all."""
    with whole_file(path, "the result", needed=values.nbytes) as partial, partial.open("wb") as file:
        np.save(file, values)
