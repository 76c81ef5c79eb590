"""Arguments that had another word before."""

import functools
import warnings
from collections.abc import Callable


def renamed(**words: str) -> Callable[[Callable], Callable]:
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

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def with_older_words(*args, **kwargs):
            for old in [name for name in kwargs if name in words]:
                new = words[old]
                if new in kwargs:
                    raise TypeError(f"{function.__name__}: {old}= is now {new}=; give {new}= alone")
                warnings.warn(f"{function.__name__}: {old}= is now {new}=", DeprecationWarning, stacklevel=2)
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return with_older_words

    return decorate
