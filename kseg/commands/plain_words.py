"""What TensorFlow tells of memory, determinism and lost workers, in one line each."""

import contextlib
import errno
import re
from collections.abc import Iterator, Sequence

import tensorflow as tf

from kseg.disk import is_full
from kseg.distribution import lost_workers


@contextlib.contextmanager
def in_plain_words(batch_size: int, crop_size: Sequence[int], resume: bool) -> Iterator[None]:
    """Turn TensorFlow's walls of text into errors that name the argument to change.

    Raises:
        MemoryError: if a batch does not fit.
        OSError: if TensorFlow, which writes for TensorBoard, finds the disk full.
        ValueError: if an operator has no deterministic form.
        ConnectionError: if another worker is lost.
    """
    try:
        with lost_workers():
            yield
    except tf.errors.ResourceExhaustedError as error:
        if is_full(error):
            message = str(error).strip().splitlines()[0]
            raise OSError(errno.ENOSPC, f"{message}; make room, and go on with resume=True") from error
        smaller = (
            "half the batch_size= with twice the gradient_accumulation_steps=, " if batch_size > 1 else ""
        )
        raise MemoryError(
            f"a batch of {batch_size} crops {crop_size[0]}×{crop_size[1]} does not fit into the memory; try "
            f"{smaller}a smaller crop_size= or a smaller model"
        ) from error
    except tf.errors.UnimplementedError as error:
        if "determin" not in str(error).lower():
            raise
        place = re.search(r"\{\{node ([^}]*)\}\}", str(error))
        raise ValueError(
            f"deterministic=True: {place[1] if place else 'an operator'} has no deterministic form on this "
            "device; train without it"
        ) from error
    except ConnectionError as error:
        if resume:
            raise
        raise ConnectionError(f"{error}, with resume=True") from error
