"""A training that goes on where it was interrupted, as if it had not been."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from kseg import states
from kseg.callbacks.progress import history_with
from kseg.callbacks.stopping import check_finite
from kseg.distribution import from_chief, is_chief
from kseg.graphs import start_at_epoch
from kseg.optimizers.averages import averaged_statistics
from kseg.types import PathLike

if TYPE_CHECKING:
    import tensorflow as tf


class ExactResume(keras.callbacks.Callback):
    """Keep the state of a training after every epoch, and start from the newest one there is.

    Weights, optimiser, random numbers of dropout, order and augmentation of the data, the history and the
    numbers of other callbacks (`SaveBest.best`, `EarlyStopping.wait`) are kept. What was interrupted in an
    epoch begins that epoch again; on a CPU with `tf.config.experimental.enable_op_determinism()` it ends with
    the weights of a training that was never interrupted. Let it be the last of the callbacks.

    A training that `EarlyStopping`, one of `callbacks`, has ended goes on only with a larger `patience`.

    `keras.callbacks.BackupAndRestore` repeats steps on top of later weights, forgets dropout and shuffling,
    and takes a half-written state for a whole one. Of several workers the chief alone writes and reads; the
    others get what it has read.

    Args:
        folder: where the states are, one folder per epoch; the newest two stay.
        dataset: `None` or the dataset of `kseg.data` that is trained on, for its order and augmentation;
            what `.shuffle` or `.cache` made of it draws anew and is refused.
        callbacks: those whose numbers are kept: give all others of `fit`.
        config: `None` or a dict of what JSON can hold, what the training was asked for: a state of another
            config is refused. `epochs` should be in it only if it must not change.
        keep: states to keep, 1 or more.
        report: function of a str, told where the training starts from; `print` by default.

    Raises:
        OSError: out of `fit`, when a state cannot be written; the ones before are as they were.
        ValueError: if the dataset cannot be set to an epoch; out of `fit`, when the states there are do not
            belong to this model or config, or none of them is whole.

    Example:
        >>> import kseg, tempfile
        >>> scenes = kseg.data.shapes(4, (32, 32), batch_size=2, shuffle=True)
        >>> model = kseg.compile(kseg.build_conv_stack(6, depth=1, filters=4))
        >>> resume = ExactResume(tempfile.mkdtemp(), scenes)
        >>> history = model.fit(scenes, epochs=1, shuffle=False, verbose=0, callbacks=[resume])
        no state to resume: starting with epoch 1
        >>> history = model.fit(scenes, epochs=2, shuffle=False, verbose=0, callbacks=[resume])
        resuming after epoch 1
    """

    def __init__(
        self,
        folder: PathLike,
        dataset: "tf.data.Dataset | None" = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        config: dict[str, Any] | None = None,
        keep: int = 2,
        report: Callable[[str], object] = print,
    ) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.dataset = _checked_dataset(dataset)
        self.callbacks = list(callbacks)
        self.config = _checked(config or {})
        if keep < 1:
            raise ValueError(f"keep must be 1 or more, got {keep!r}")
        self.keep = keep
        self.report = report

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.restored = None
        self.first_numbers = [_numbers(callback) for callback in self.callbacks]
        report = self.report if is_chief() else lambda text: None
        content = from_chief(lambda: self._read(report), self.model.distribute_strategy)
        state = states.from_bytes(content)
        if state is None:
            start_at_epoch(self.model, None)
            report("no state to resume: starting with epoch 1")
            return
        _assign(self._of_its_version(state), state)
        self.restored = state
        epochs = self.params.get("epochs", math.inf)
        if state.epoch >= epochs:
            end = ", the last one: nothing is left to train"
        elif self._stopped_early(state):
            end = ", where it was stopped early: nothing is left to train"
        else:
            end = ""
        start_at_epoch(self.model, epochs if end else state.epoch)
        report(f"resuming after epoch {state.epoch}{end}")

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        start_at_epoch(self.model, None)  # no epoch has begun where nothing was left

    def _stopped_early(self, state):
        """Tell whether a callback has waited for its patience: what is resumed ends where it has ended."""
        return any(
            isinstance(callback, keras.callbacks.EarlyStopping)
            and numbers.get("stopped_epoch", 0) > 0
            and numbers.get("wait", 0) >= callback.patience
            for callback, numbers in zip(self.callbacks, state.facts["callbacks"], strict=False)
        )

    def _read(self, report):
        """Return the newest state as bytes, none where there is none."""
        state, problems = states.newest(self.folder)
        for problem in problems:
            report(problem)
        if state is not None:
            _check_config(state, self.config)
        return states.to_bytes(state)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.dataset is not None:
            self.dataset.epochs.next = epoch
        if self.restored is not None:  # now, for the others reset themselves when the training begins
            self.model.history.epoch = list(range(self.restored.epoch))
            self.model.history.history = self.restored.facts["history"]
            self._restore_callbacks(self.restored)
            self.restored = None
        start_at_epoch(self.model, None)  # Keras has read it

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        check_finite(self.model, epoch)
        facts = {
            "config": self.config,
            "history": history_with(self.model, epoch, logs),
            "callbacks": [
                _changed(callback, first)
                for callback, first in zip(self.callbacks, self.first_numbers, strict=True)
            ],
            "variables": {group: _described(many) for group, many in self._variables().items()},
        }
        arrays = {
            group: [ops.convert_to_numpy(variable) for variable in many]
            for group, many in self._variables().items()
        }
        if is_chief():
            states.write(self.folder, epoch + 1, arrays, facts, self.keep)

    def _restore_callbacks(self, state):
        kept = state.facts["callbacks"]
        if len(kept) != len(self.callbacks):
            raise ValueError(
                f"{state.path} has the numbers of {len(kept)} callbacks, and callbacks= has "
                f"{len(self.callbacks)}: give those of the training before"
            )
        for callback, numbers, first in zip(self.callbacks, kept, self.first_numbers, strict=True):
            of_this_epoch = _changed(callback, first)  # set when it began, a clock for instance
            vars(callback).update({k: value for k, value in numbers.items() if k not in of_this_epoch})

    def _of_its_version(self, state):
        """Return the variables that a state has; older ones have no averages of statistics, which begin."""
        variables, averaged = self._variables(), averaged_statistics(self.model)
        begin = len(variables["optimizer"]) - len(averaged)
        if averaged and len(state.facts["variables"]["optimizer"]) == begin:
            _assign({"model": variables["model"]}, state)
            for statistic, average in averaged:
                average.assign(statistic)
            variables["optimizer"] = variables["optimizer"][:begin]
        return variables

    def _variables(self):
        if not self.model.optimizer.built:
            self.model.optimizer.build(self.model.trainable_variables)
        return {"model": self.model.variables, "optimizer": self.model.optimizer.variables}


def _described(variables):
    return [[variable.path, list(variable.shape), str(variable.dtype)] for variable in variables]


def _changed(callback, first):
    """Return the numbers that are not what they were when the training began: counts, not arguments."""
    return {k: value for k, value in _numbers(callback).items() if k not in first or value != first[k]}


def _numbers(callback):
    """Return the attributes of a callback that are numbers, bools or `None`."""
    kept = {}
    for name, value in vars(callback).items():
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, bool | int | float):
            kept[name] = value
    return kept


def _checked_dataset(dataset):
    if dataset is None:
        return None
    try:
        dataset.epochs  # noqa: B018 - its own error says where it was lost
    except AttributeError as error:
        raise ValueError(
            f"dataset cannot be set to an epoch, so a resumed training would not be the same ({error}); let "
            "kseg.data shuffle, augment and batch, and give that dataset; or give None"
        ) from None
    return dataset


def _checked(config):
    for key, value in config.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            raise ValueError(f"config[{key!r}] must be what JSON can hold, got {value!r}") from None
    return config


def _check_config(state, config):
    before = state.facts["config"]
    differ = [key for key in sorted({*before, *config}) if before.get(key) != config.get(key)]
    if differ:
        rows = "; ".join(f"{key}: {before.get(key)!r} before, {config.get(key)!r} now" for key in differ)
        raise ValueError(f"{state.path} is of another training: {rows}; go on as before, or in a new folder")


def _assign(variables, state):
    for group, many in variables.items():
        saved, here = state.facts["variables"][group], _described(many)
        if [row[1:] for row in saved] != [row[1:] for row in here]:
            pairs = zip(saved, here, strict=False)
            first = next((f"{a} there, {b} here" for a, b in pairs if a[1:] != b[1:]), None)
            first = first or f"{len(saved)} variables there, {len(here)} here"
            raise ValueError(f"{state.path} is of another {group}: {first}")
        for variable, array in zip(many, state.arrays[group], strict=True):
            variable.assign(array)
