"""What TensorBoard shows: curves, and what the model predicts after each epoch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from keras import ops

from kseg.data.sampling import sample_evenly
from kseg.distribution import is_chief
from kseg.graphs import ModelFacts
from kseg.masks import to_mask
from kseg.optimizers.averages import averaged
from kseg.types import Dataset, PathLike
from kseg.visualization import comparison


class PredictionPictures(keras.callbacks.Callback):
    """Write rows image | truth | prediction with a legend for TensorBoard after every epoch.

    Use it beside `keras.callbacks.TensorBoard`, which writes the curves; TensorBoard must be installed.

    Args:
        folder: str or `Path`, the `log_dir` of TensorBoard.
        dataset: batches `(images, masks)`; `count` pictures spread over it are shown, all at one size.
        class_names: one name per class.
        count: rows.
        every: epochs from one picture to the next.

    Raises:
        ImportError: if TensorBoard is missing.

    Example:
        >>> import tempfile
        >>> import kseg
        >>> scenes = kseg.data.shapes(8, (32, 32), batch_size=2)
        >>> model = kseg.compile(kseg.build_conv_stack(6, depth=1, filters=4))
        >>> pictures = PredictionPictures(tempfile.mkdtemp(), scenes, scenes.class_names, count=2)
        >>> history = model.fit(scenes, shuffle=False, verbose=0, callbacks=[pictures])
    """

    def __init__(
        self, folder: PathLike, dataset: Dataset, class_names: Sequence[str], count: int = 4, every: int = 1
    ) -> None:
        super().__init__()
        check_tensorboard()
        self.folder = Path(folder)
        self.class_names = list(class_names)
        self.every = every
        self.pairs = sample_evenly(dataset, count)
        self.writer: Any = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if epoch % self.every:
            return
        import tensorflow as tf

        with averaged(self.model):
            scores = [self.model.predict_on_batch(image[None])[0] for image, _ in self.pairs]
            facts = ModelFacts(self.model)
            from_logits = facts.told and facts.activation is None
        if not is_chief():
            return
        masks = [ops.convert_to_numpy(to_mask(score[None], from_logits))[0] for score in scores]
        picture = comparison(self.pairs, masks, self.class_names)
        self.writer = self.writer or tf.summary.create_file_writer(str(self.folder / "predictions"))
        with self.writer.as_default():
            tf.summary.image("predictions", picture[None], step=epoch)
        self.writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self.writer is not None:
            self.writer.close()
        self.writer = None


def check_tensorboard() -> None:
    """Raise `ImportError` with the mend if TensorBoard is missing."""
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        raise ImportError("TensorBoard is missing: pip install tensorboard, or train without it") from None
