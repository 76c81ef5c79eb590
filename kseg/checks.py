"""Checks of arguments that several modules share; each error names the argument and the mend."""

import difflib
import functools
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from numbers import Integral
from typing import Any, TypeGuard, TypeVar, cast

import keras

from kseg.types import InputShape

Function = TypeVar("Function", bound=Callable[..., Any])
_NAMES = 100  # that an error lists


def unknown_name(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """Return the `ValueError` for `name`, with the nearest of the `known` names."""
    known = sorted(known)
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    more = ""
    if len(known) > _NAMES:
        near = difflib.get_close_matches(str(name), known, n=5, cutoff=0.3) or known[:5]
        known, more = near, f" and {len(known) - len(near)} more"
    return ValueError(f"unknown {kind} {name!r}; {hint}known: {', '.join(known)}{more}")


def is_count(value: object) -> TypeGuard[int]:
    """Tell whether `value` is a positive int; `True` is none."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) > 0


def checked_size(argument: str, size: Sequence[int], smallest: int = 1) -> tuple[int, int]:
    """Return `size` as the tuple `(H, W)`; raise `ValueError` unless it is two ints from `smallest` on."""
    sides = tuple(size) if isinstance(size, tuple | list) else ()
    if len(sides) != 2 or not all(isinstance(side, int) and side >= smallest for side in sides):
        raise ValueError(f"{argument} must be (H, W) in pixels, ints of {smallest} or more, got {size!r}")
    return sides


def check_choice(argument: str, value: object, known: Collection[Any]) -> None:
    """Raise unless `value` is one of the `known` values (strings or `None`)."""
    if value not in known:
        if isinstance(value, str):
            raise unknown_name(argument, value, [k for k in known if k is not None])
        raise ValueError(f"{argument} must be one of {known}, got {value!r}")


def check_num_classes(num_classes: object) -> None:
    """Raise unless `num_classes` is an int in 1..255: ids are `uint8` in predicted masks, 255 is void."""
    if not is_count(num_classes) or num_classes > 255:
        raise ValueError(
            f"num_classes must be an int in 1..255 (mask ids are uint8, 255 is the default void), "
            f"got {num_classes!r}"
        )


def check_input_shape(input_shape: Iterable[Any]) -> InputShape:
    """Return `input_shape` as the tuple `(H, W, C)`; H and W may be `None`.

    Raises:
        ValueError: for a batch axis, a missing channel count, or channels first.
    """
    try:
        shape = tuple(input_shape)
    except TypeError:
        shape = ()
    sizes_ok = all(size is None or is_count(size) for size in shape)
    if len(shape) != 3 or not sizes_ok:
        raise ValueError(
            f"input_shape must be (H, W, C) without the batch, H and W in pixels or None, got {input_shape!r}"
        )
    if shape[0] in (1, 3, 4) and (shape[2] is None or shape[2] > 4) and shape[1] != 1:
        raise ValueError(
            f"input_shape must be (H, W, C), got {shape}: channels first? "
            f"Move them last: ({shape[1]}, {shape[2]}, {shape[0]})"
        )
    if shape[2] is None:
        raise ValueError(
            f"input_shape needs its number of channels, got {shape}; use (None, None, 3) for RGB"
        )
    height, width = (None if size is None else int(size) for size in shape[:2])
    return height, width, int(shape[2])


def check_tensorflow(what: str) -> None:
    """Raise on another backend: graphs build and run on any of them, what is around them on TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"{what} needs the TensorFlow backend, but Keras runs on {keras.backend.backend()!r}: unset "
            "KERAS_BACKEND before keras is imported"
        )


def check_weights_have_backbone(backbone: object, backbone_weights: object) -> None:
    """Raise where weights are asked for without a backbone that has them."""
    if backbone is None and backbone_weights is not None:
        raise ValueError("backbone_weights needs a named backbone; the paper's own encoder has none")


def check_dilation_rates(dilation_rates: object) -> tuple[int, ...]:
    """Return the rates of parallel branches as a tuple; raise unless they are different positive ints."""
    rates = tuple(dilation_rates) if isinstance(dilation_rates, (tuple, list)) else (0,)
    if not all(map(is_count, rates)) or len(set(rates)) < len(rates):
        raise ValueError(f"dilation_rates must be different positive ints or None, got {dilation_rates!r}")
    return tuple(int(rate) for rate in rates)


def check_class_names(class_names: Sequence[str] | None, num_classes: int) -> None:
    """Raise unless there is one name per class."""
    if class_names is None:
        return
    if isinstance(class_names, str) or len(set(class_names)) < len(class_names):
        raise ValueError(f"class_names must be a list of different names, got {class_names!r}")
    if any("\n" in name or "\r" in name for name in class_names):
        raise ValueError(f"class_names must be names without line breaks, got {class_names!r}")
    if len(class_names) != num_classes:
        raise ValueError(
            f"class_names has {len(class_names)} names for num_classes={num_classes}; give one name per class"
        )


def renamed(**words: str) -> Callable[[Function], Function]:
    """Return a decorator: the function takes these older words too and warns of them.

    Args:
        **words: older word → the word of today.

    Example:
        >>> @renamed(colour="color")
        ... def paint(*, color):
        ...     return color
        >>> paint(color="red")
        'red'
    """

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def with_older_words(*args, **kwargs):
            for old in [name for name in kwargs if name in words]:
                new = words[old]
                if new in kwargs:
                    raise TypeError(f"{function.__name__}: {old}= is now {new}=; give {new}= alone")
                warnings.warn(f"{function.__name__}: {old}= is now {new}=", DeprecationWarning, stacklevel=2)
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return cast(Function, with_older_words)

    return decorate
