"""Weights of one model for another that shares its layers: a new number of classes, another head."""

from dataclasses import dataclass, field

import keras

from kseg.inference import load
from kseg.types import PathLike


@dataclass
class Transfer:
    """What `copy_weights` did; prints as text.

    Attributes:
        copied: names of layers.
        skipped: dict of the layers that kept their own weights, `{name: reason}`.
    """

    copied: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"weights copied into {len(self.copied)} of {len(self.copied) + len(self.skipped)} layers"]
        lines += [f"  {name} starts anew: {reason}" for name, reason in self.skipped.items()]
        return "\n".join(lines)


def copy_weights(model: keras.Model, source: keras.Model | PathLike) -> Transfer:
    """Copy the weights of another model wherever layer names and shapes agree, and tell where they do not.

    For a training that starts from an earlier one with other classes, another head or auxiliary heads: all
    but the last layers go on from what they had learnt.

    Args:
        model: `keras.Model` that takes them, before it is compiled or after.
        source: `keras.Model` or path of a `.keras` file.

    Returns:
        `Transfer`; printed, it names every layer that starts anew, and why.

    Raises:
        ValueError: if no layer fits, or the file is no complete `.keras` archive.
        FileNotFoundError: if there is no such file.

    Example:
        >>> import kseg
        >>> street = kseg.build_conv_stack(11, depth=1, filters=4)
        >>> print(copy_weights(kseg.build_conv_stack(3, depth=1, filters=4), street))
        weights copied into 2 of 3 layers
          logits starts anew: kernel is (1, 1, 4, 3) here, (1, 1, 4, 11) there
    """
    theirs = _layers(source if isinstance(source, keras.Model) else load(source))
    result = Transfer()
    for name, layer in _layers(model).items():
        reason = _difference(layer, theirs.get(name))
        if reason is None:
            layer.set_weights(theirs[name].get_weights())
            result.copied.append(name)
        else:
            result.skipped[name] = reason
    if not result.copied:
        name = source.name if isinstance(source, keras.Model) else source
        raise ValueError(
            f"no layer of {model.name!r} is in {name} with the same name and shapes; there are "
            f"{', '.join(list(theirs)[:5])}, ... there"
        )
    return result


def _layers(model, prefix=""):
    """Return the layers that have weights of their own by name, with that of the model they are in."""
    found: dict[str, keras.Layer] = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found |= _layers(layer, f"{prefix}{layer.name}/")
        elif layer.weights:
            found[prefix + layer.name] = layer
    return found


def _difference(layer, other):
    if other is None:
        return "the other model has no layer of this name"
    if len(layer.weights) != len(other.weights):
        return f"{len(layer.weights)} weights here, {len(other.weights)} there"
    for here, there in zip(layer.weights, other.weights, strict=True):
        if tuple(here.shape) != tuple(there.shape):
            return f"{here.name} is {tuple(here.shape)} here, {tuple(there.shape)} there"
    return None
