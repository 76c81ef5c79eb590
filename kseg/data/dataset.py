"""A `tf.data.Dataset` that knows its classes and files, and still does after `.map`, `.cache`, `.take`, ...

What TensorFlow makes of a dataset is a new one, without the attributes of the old. Here every transformation
passes on what stays true; to ask for the rest is an `AttributeError` that names the transformation.
"""

import functools
import inspect
import typing
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from kseg.data.notebook import described

_CLASSES = ("class_names", "num_classes", "channels", "value_range", "layout")
_ITEMS = ("epochs", "image_paths", "mask_paths")  # which items come, and in which order
_FACTS = (*_CLASSES, "batch_size", *_ITEMS)

_NOTHING: dict[str, str] = {}
_ANY_ORDER = dict.fromkeys(_ITEMS, "the items then come in any order")
_FROZEN = dict.fromkeys(_ITEMS, "every epoch then repeats what the first one drew")
_OTHER_ITEMS = dict.fromkeys(_ITEMS, "other items then come, or in another order")
_OTHER_ELEMENTS = dict.fromkeys(("batch_size", *_ITEMS), "its elements are then no longer those of before")
# Method that gives a dataset → what is lost, and why. Those that group items anew may keep all.
_LOSSES = {
    **dict.fromkeys(("enumerate", "map", "prefetch", "scan", "with_options"), _NOTHING),
    **dict.fromkeys(("cache", "snapshot"), _FROZEN),
    **dict.fromkeys(("filter", "ignore_errors", "repeat", "shard", "shuffle"), _OTHER_ITEMS),
    **dict.fromkeys(("skip", "take", "take_while", "unique"), _OTHER_ITEMS),
    **dict.fromkeys(("batch", "padded_batch", "rebatch", "unbatch"), _OTHER_ELEMENTS),
    **dict.fromkeys(("ragged_batch", "sparse_batch", "bucket_by_sequence_length"), _OTHER_ELEMENTS),
    **dict.fromkeys(("flat_map", "group_by_window", "interleave", "window"), _OTHER_ELEMENTS),
    "rejection_resample": _OTHER_ELEMENTS,
}


class SegmentationDataset(tf.data.Dataset):
    """Pictures and masks, and what is known of them.

    Args:
        dataset: what it iterates over.
        facts: attribute → value, of those below.
        unknown: attribute → why it is not known any more.

    Attributes:
        class_names: list of str; every transformation keeps it, as it does the next four.
        num_classes: int.
        channels: int, of a picture.
        value_range: `(low, high)`, what the files hold for black and white, `None` for 0–255.
        layout: name of the layout of a folder, `None` where patterns told it.
        batch_size: int, or `None` for single pictures; lost where elements are put together otherwise.
        epochs: `kseg.data.epochs.Epochs`, which items come; lost, as the next two are, where others come,
            in another order, or always those of the first epoch. What a function given to `map` draws by
            itself is not among what is known, and not repeated.
        image_paths, mask_paths: lists of str, the file of each item; of a dataset of files.
    """

    def __init__(self, dataset: tf.data.Dataset, facts: dict, unknown: dict | None = None) -> None:
        self._dataset = dataset
        self._unknown = dict(unknown or {})
        self.__dict__.update(facts)
        super().__init__(dataset._variant_tensor)

    def _inputs(self):
        return [self._dataset]

    @property
    def element_spec(self) -> typing.Any:
        return self._dataset.element_spec

    def __getattr__(self, name):
        """Tell what became of an attribute that is not there."""
        if name not in _FACTS:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        reason = vars(self).get("_unknown", {}).get(name)
        raise AttributeError(reason or f"{name} is not known: the dataset was made without")

    def _repr_html_(self) -> str:
        """Show a notebook what it holds, and some of its pictures with their masks."""
        return described(self)

    def apply(self, transformation_func: Callable) -> tf.data.Dataset:
        """Apply a function of a dataset, as `tf.data.Dataset.apply` does."""
        dataset = super().apply(transformation_func)
        if isinstance(dataset, SegmentationDataset):
            return dataset
        return self._next(dataset, "apply", dict.fromkeys(_OTHER_ELEMENTS, "it may change anything"))

    def concatenate(self, dataset: tf.data.Dataset, name: str | None = None) -> tf.data.Dataset:
        """Append a dataset, as `tf.data.Dataset.concatenate` does; what both have and differ in is lost."""
        lost = dict(_OTHER_ITEMS)
        for key in (*_CLASSES, "batch_size"):
            here, there = vars(self).get(key), getattr(dataset, key, None)
            if here != there and (there is not None or key == "batch_size"):
                lost[key] = f"it is {here!r} of the one dataset and {there!r} of the other"
        return self._next(super().concatenate(dataset, name), "concatenate", lost)

    def _next(self, dataset, transformation, lost, **new):
        """Return what a transformation has made, with what stays true of it."""
        known = {key: value for key, value in vars(self).items() if key in _FACTS}
        facts = {key: value for key, value in known.items() if key not in lost} | new
        unknown = dict(self._unknown)
        for key in lost.keys() & known.keys():
            advice = f"take it from the dataset before .{transformation}()"
            unknown[key] = f"{key} is not known after .{transformation}(): {lost[key]}; {advice}"
        return SegmentationDataset(dataset, facts, unknown)


def _passing_on(name, lost):
    """Return a method of `tf.data.Dataset` that passes on what stays true."""
    original = getattr(tf.data.Dataset, name)
    signature = inspect.signature(original)

    @functools.wraps(original)
    def method(self, *args, **kwargs):
        dataset = original(self, *args, **kwargs)
        arguments = signature.bind(self, *args, **kwargs).arguments
        changes, new = lost, _new_batch_size(vars(self), name, arguments)
        if new or not lost:
            changes = _ANY_ORDER if _is_unordered(arguments) else _NOTHING
        size = vars(self).get("batch_size")  # of single pictures `None`: the first axis is their height
        if size and not new and _leading(dataset) not in (None, size):
            changes = {**changes, "batch_size": "its elements then hold another number of pictures"}
        return self._next(dataset, name, changes, **new)

    return method


def _new_batch_size(facts, name, arguments):
    """Return the batch size after whole items were grouped anew, nothing where it cannot be known."""
    of_single = name in ("batch", "padded_batch")
    of_batches = name in ("rebatch", "unbatch")
    before = facts.get("batch_size", 0)  # 0: not known
    if not (of_single and before is None) and not (of_batches and before):
        return {}
    size = arguments.get("batch_size")
    return {"batch_size": size} if size is None or isinstance(size, int | np.integer) else {}


def _leading(dataset):
    """Return the known length of the first axis of pictures, `None` where it is open."""
    first = tf.nest.flatten(dataset.element_spec)[0]
    shape = getattr(first, "shape", None)
    return shape[0] if shape is not None and shape.rank else None


def _is_unordered(arguments):
    options = arguments.get("options")
    return arguments.get("deterministic") is False or (options is not None and options.deterministic is False)


for _name, _lost in _LOSSES.items():
    setattr(SegmentationDataset, _name, _passing_on(_name, _lost))
