"""Export to SavedModel."""

from kseg.arguments import check_tensorflow
from kseg.export.graph import write_archive
from kseg.export.pictures import collect
from kseg.export.verification import verify
from kseg.export.writing import check_target, put_in_place, size_of, workshop


def export_saved_model(model, path, *, validation_data=None, ignore_class=255, overwrite=False):
    """Write a SavedModel for TensorFlow Serving and any program with TensorFlow; it needs no kseg.

    Its signature `serving_default` takes `image`, `(B, H, W, C)` float32 with values 0–255, of any size the
    model takes, and gives `logits` or `probabilities`. The folder is loaded, run and compared with the
    Keras model before it stands at its path.

    Args:
        model: `keras.Model` with scores `(B, H, W, num_classes)`.
        path: folder to write.
        validation_data: `None` (generated pictures) or batches of pictures, or of `(picture, mask)`, to
            verify with: the first 32. With masks the report has the mean IoU of both.
        ignore_class: int or several, void in those masks.
        overwrite: bool, replace what is at `path`.

    Returns:
        `ExportReport`.

    Raises:
        FileExistsError: if `path` exists and `overwrite` is false.
        RuntimeError: if what was written disagrees with the model; nothing is then at `path`.
        ValueError: if the data are empty or not finite.

    Example:
        >>> import kseg, tempfile
        >>> model = kseg.build_conv_stack(2, depth=1, filters=4)
        >>> report = export_saved_model(model, tempfile.mkdtemp() + "/saved")
        >>> report.same_class
        1.0
    """
    check_tensorflow("kseg.export_saved_model")
    path = check_target(path, overwrite)
    data = collect(validation_data)
    with workshop(path) as folder:
        made = folder / "model"
        write_archive(model, made, (None, *model.input_shape[1:3]))
        report = verify(
            model, made, title="SavedModel", shown_path=path, data=data, ignore_class=ignore_class
        )
        report.size_bytes = size_of(made)
        put_in_place(made, path)
    return report
