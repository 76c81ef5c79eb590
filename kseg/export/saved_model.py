"""Export to SavedModel."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kseg import sandbox
from kseg.export.pictures import collect, generated_pictures
from kseg.export.report import ExportReport
from kseg.export.serving import class_ids, serving_module
from kseg.export.writing import begin, write_verified
from kseg.inference import collapse
from kseg.quiet import quiet_tensorflow
from kseg.runtime import run_encoded
from kseg.types import InputRange, StatedActivation


def export_saved_model(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    class_names: Sequence[str] | None = None,
    validation_data: Any = None,
    activation: StatedActivation = None,
    input_range: InputRange = None,
    multilabel: bool | None = None,
    ignore_class: int | Sequence[int] | None = 255,
    overwrite: bool = False,
) -> ExportReport:
    """Write a SavedModel for TensorFlow Serving and any program with TensorFlow; it needs no kseg.

    Its signature `serving_default` takes `image`, `(B, H, W, C)` float32 with values 0–255, of any size the
    model takes, and gives `logits` or `probabilities`; of a model that gives ids, `classes`. The signature
    `encoded` (models of 1 or 3 channels that give scores) takes `encoded`, the bytes of JPEG or PNG files;
    EXIF orientation is not applied. For one file, a scalar, it gives the scores `(H, W, classes)` and
    `classes`, int32 `(H, W)`, at the size of the picture. For rows `(n,)`, as TensorFlow Serving makes of
    `{"instances": [{"b64": ...}]}`, it gives `(n, H, W, classes)` and `(n, H, W)`: of a model of fixed size
    at that size, whatever the pictures' sizes; otherwise at the pictures' size, which must be one. The
    folder is loaded by TensorFlow alone, in a second process, run and compared with the Keras model before
    it stands at its path.

    Args:
        model: `keras.Model` with scores `(B, H, W, num_classes)`.
        path: folder to write.
        class_names: `None` or one name per class, for the asset `assets/labels.txt`.
        validation_data: `None` (generated pictures), or pictures to verify with, the first 32: an array
            `(B, H, W, C)`, `(x, y)`, `(x, y, sample_weight)`, a data set or a list of such batches, or a
            generator function. With masks the report has the mean IoU of both.
        activation, multilabel: as for `kseg.predict`, of the model.
        input_range: `(low, high)`, what the model takes for pixel values 0 and 255; the file takes 0–255.
        ignore_class: int or several, void in those masks.
        overwrite: replace what is at `path`.

    Returns:
        `ExportReport`.

    Raises:
        FileExistsError: if `path` exists and `overwrite` is false.
        OSError: if another process exports to `path`, or the disk is full.
        RuntimeError: if what was written disagrees with the model; nothing is then at `path`.
        ValueError: if the data are empty or not finite, the names are not one per class, or TensorFlow takes
            the path for a pattern.

    Example:
        >>> import kseg, tempfile
        >>> model = kseg.build_conv_stack(2, depth=1, filters=4)
        >>> report = export_saved_model(model, tempfile.mkdtemp() + "/saved")
        >>> report.same_class
        1.0
    """
    stated: dict[str, Any] = {"activation": activation, "input_range": input_range, "multilabel": multilabel}
    facts, path = begin("kseg.export_saved_model", model, path, None, overwrite, class_names, **stated)
    return write_verified(
        facts,
        path,
        partial(_write, facts, class_names),
        title="SavedModel",
        data=collect(validation_data, input_range=input_range),
        ignore_class=ignore_class,
        extra_check=partial(_check_encoded, path) if _takes_files(facts) else None,
    )


def _write(facts, class_names, folder):
    made = folder / "model"
    module = serving_module(facts.float32, facts, (None, *facts.input_size))
    signatures = {"serving_default": module.serve.get_concrete_function()}
    if _takes_files(facts):
        bytes_of_file = tf.TensorSpec(None, tf.string, name="encoded")  # one or rows
        module.serve_encoded = tf.function(_encoded(module.serve, facts), input_signature=[bytes_of_file])
        signatures["encoded"] = module.serve_encoded.get_concrete_function()
    if class_names is not None:
        labels = made.with_name("labels.txt")
        labels.write_text("\n".join(class_names) + "\n", encoding="utf-8")
        module.labels = tf.saved_model.Asset(str(labels))
    if facts.multilabel:
        module.kseg_multilabel = tf.Variable(True, trainable=False)  # nothing else in the folder tells it
    if facts.value_range is not None:
        module.kseg_value_range = tf.Variable(facts.value_range.as_json(), trainable=False)
    with quiet_tensorflow():
        tf.saved_model.save(module, str(made), signatures=signatures)
    return made


def _takes_files(facts):
    """Tell whether a model scores the whole of pictures as JPEG and PNG hold them."""
    gives_scores = facts.output_kind != "classes"
    in_bytes = facts.channels in (1, 3) and facts.value_range is None
    return in_bytes and gives_scores and not facts.scores_only_centre


def _encoded(serve, facts):
    """Return the function of files' bytes, a scalar or rows, that gives scores and classes."""
    fixed, channels = facts.fixed_size, facts.channels

    def decode(file):
        # reads PNG too; the accurate transform is what Pillow and other readers of the file see
        return tf.io.decode_jpeg(file, channels=channels, dct_method="INTEGER_ACCURATE")

    def resized(file):
        return tf.image.resize(tf.cast(decode(file), tf.float32), fixed, antialias=True)

    def function(encoded):
        files = tf.reshape(encoded, (-1,))
        size = tf.shape(decode(files[0]))[:2]

        def of_one_size(file):
            picture = decode(file)
            alike = tf.debugging.assert_equal(
                tf.shape(picture)[:2], size, message="encoded: the pictures of one request must have one size"
            )
            with tf.control_dependencies([alike]):
                return tf.cast(picture, tf.float32)

        spec = tf.TensorSpec((*facts.input_size, channels), tf.float32)
        images = tf.map_fn(resized if fixed else of_one_size, files, fn_output_signature=spec)
        ((name, scores),) = serve(images).items()
        if fixed is not None:  # rows may be of several sizes: they stay at the model's
            own = tf.cond(tf.rank(encoded) == 0, lambda: size, lambda: tf.constant(fixed))
            scores = tf.image.resize(scores, own)
        ids = class_ids(scores, 0.0 if name == "logits" else 0.5, facts.multilabel)
        return {name: _as_asked(scores, encoded), "classes": _as_asked(ids, encoded)}

    return function


def _as_asked(values, encoded):
    """Return values of a batch with the batch axis that the files came with, none for a scalar."""
    return tf.reshape(values, tf.concat([tf.shape(encoded), tf.shape(values)[1:]], 0))


def _check_encoded(path, made, written):
    """Compare the signatures on one picture: as numbers, as a file, as rows of two files.

    Raises:
        RuntimeError: if they disagree.
    """
    picture = generated_pictures(written, count=1)[0]
    expected, file = written.scores(picture[None])[0], tf.io.encode_png(picture).numpy()
    for encoded in (file, [file, file]):
        scores, ids = sandbox.call(run_encoded, str(made), encoded)
        differs = np.abs(scores - expected).max() > 1e-3 * np.ptp(expected)
        if differs or not np.array_equal(ids, collapse(scores, written.from_logits, written.multilabel)):
            raise RuntimeError(
                f"{path}: the signatures for numbers and for files disagree, nothing was written"
            )
