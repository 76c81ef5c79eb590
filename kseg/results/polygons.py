"""Masks as polygons in GeoJSON, along the sides of pixels, by rasterio."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from kseg.results.regions import regions_of

_PLACES = 7  # digits of a degree: a centimetre


def features_of(
    ids: np.ndarray,
    class_names: Sequence[str],
    confidence: np.ndarray | None = None,
    *,
    place: Any = None,
    void: int = 255,
) -> bytes:
    """Return a GeoJSON collection (RFC 7946) with one polygon for each region, holes left out.

    Args:
        ids: `(H, W)` unsigned integers.
        class_names: one per class; others are numbered.
        confidence: `None` or `(H, W)`, whose mean over a region becomes its property.
        place: `kseg.results.geo.Place` of the picture, whose polygons are in degrees; `None` gives pixels, x
            to the right and y downwards from the corner of the first.
        void: the id that has no polygons.

    Raises:
        ImportError: without rasterio.
    """
    found_features = imported_rasterio("polygons")
    transform = _identity() if place is None else place.transform
    labels, counts = regions_of(ids)
    sums = None
    if confidence is not None:
        sums = np.bincount(labels.ravel(), confidence.ravel(), minlength=len(counts))
    class_of = np.zeros(len(counts), int)
    class_of[labels.ravel()] = ids.ravel()
    found = []
    for geometry, value in found_features.shapes(labels, ids != void, connectivity=4, transform=transform):
        region = int(value)
        number = int(class_of[region])
        name = class_names[number] if number < len(class_names) else f"class {number}"
        properties: dict[str, Any] = {"class": number, "name": name, "pixels": int(counts[region])}
        if sums is not None:
            properties["confidence"] = round(float(sums[region] / counts[region]), 4)
        found.append((geometry, properties))
    if place is not None and place.crs is not None:
        from rasterio.warp import transform_geom

        found = [
            (transform_geom(place.crs, "EPSG:4326", geometry, precision=_PLACES), properties)
            for geometry, properties in found
        ]
    return collection([{"type": "Feature", "geometry": g, "properties": p} for g, p in found], place)


def collection(features: list[dict], place: Any) -> bytes:
    """Return features as the text of a GeoJSON file."""
    told = {"type": "FeatureCollection", "features": features}
    if place is None or place.crs is None:
        told["coordinates"] = "pixels" if place is None else "as the transform of the picture gives them"
    return json.dumps(told, ensure_ascii=False).encode()


def imported_rasterio(what: str) -> Any:
    """Return `rasterio.features`.

    Raises:
        ImportError: with the way to install it.
    """
    try:
        import rasterio.features
    except ImportError as error:
        raise ImportError(
            f"{what} are found by rasterio, which is missing: pip install 'kseg[geo]'"
        ) from error
    return rasterio.features


def _identity():
    import rasterio

    return rasterio.Affine.identity()
