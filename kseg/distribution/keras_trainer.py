"""What Keras' trainer lacks under several replicas; on one device nothing changes.

It builds the model from the replicas' batches, which need not be of one size; it runs replicas that have no
picture; it can take neither several steps at once nor, on several workers, a single one. Each mend stands at
the private name that it replaces, as Keras 3.15 has it; an unknown trainer is refused rather than run.
"""

import inspect
import typing
import zlib

import keras
import tensorflow as tf
from keras import tree
from keras.src.backend.tensorflow import trainer as keras_trainer

from kseg.graphs import TESTED_KERAS
from kseg.replicas import counting
from kseg.version import __version__ as kseg_version

_NEEDED = {
    "TensorFlowTrainer._make_function": ("self", "step_function"),
    "TensorFlowTrainer._maybe_symbolic_build": ("self", "iterator", "data_batch"),
    "TensorFlowTrainer._symbolic_build": ("self", "iterator", "data_batch"),
    "TensorFlowTrainer.make_predict_function": ("self", "force"),
    "TensorFlowTrainer._get_metrics_result_or_logs": ("self", "logs"),
    "TFEpochIterator.__init__": ("self", "distribute_strategy", "args", "kwargs"),
    "reduce_per_replica": ("values", "strategy", "reduction"),
    "concat": ("tensors", "axis"),
}


class Part(typing.NamedTuple):
    """The batch of one replica; `counts` is 0 where its picture only stands in for none, else 1."""

    batch: typing.Any
    counts: typing.Any


def patch() -> None:
    """Replace the private names of Keras' trainer, once.

    Raises:
        RuntimeError: if one is not there, or takes other arguments.
    """
    if keras_trainer.TFEpochIterator is _Batches:
        return
    missing = [name for name, arguments in _NEEDED.items() if _arguments(name) != arguments]
    if missing:
        raise RuntimeError(
            f"training on several devices is tested with Keras {TESTED_KERAS}; the trainer of Keras "
            f"{keras.version()} has no {' and no '.join(missing)} as there: "
            f"pip install keras=={TESTED_KERAS}, "
            "or train on one device"
        )
    trainer = keras_trainer.TensorFlowTrainer
    trainer._make_function = _make_function
    trainer._maybe_symbolic_build = _maybe_symbolic_build
    trainer.make_predict_function = _make_predict_function
    keras_trainer.reduce_per_replica = _reduce_per_replica
    keras_trainer.TFEpochIterator = _Batches


def _arguments(name):
    """Return the names of a function's arguments, `None` if it is not there."""
    found = keras_trainer
    for part in name.split("."):
        found = getattr(found, part, None)
    return None if found is None else tuple(inspect.signature(found).parameters)


_KerasBatches: typing.Any = keras_trainer.TFEpochIterator
_keras_make_function = keras_trainer.TensorFlowTrainer._make_function
_keras_maybe_symbolic_build = keras_trainer.TensorFlowTrainer._maybe_symbolic_build
_keras_make_predict_function = keras_trainer.TensorFlowTrainer.make_predict_function
_keras_reduce_per_replica = keras_trainer.reduce_per_replica


def _mirrors(strategy):
    kinds = (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy)
    return isinstance(strategy, kinds) and strategy.num_replicas_in_sync > 1


def _several_workers(strategy):
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) and _mirrors(strategy)


class _Batches(_KerasBatches):
    """Keras' iterator over an epoch, whose batches are split so that no replica comes away empty."""

    def __init__(self, distribute_strategy=None, *args, **kwargs):
        self.splitter = _Splitter(distribute_strategy) if _mirrors(distribute_strategy) else None
        self.agreed = False  # whether all workers were found to have the same data
        super().__init__(self.splitter or distribute_strategy, *args, **kwargs)


class _Splitter:
    """A strategy, as far as the iterator uses it: it distributes a dataset of batches."""

    def __init__(self, strategy):
        self.strategy = strategy
        self.element_spec = None

    def experimental_distribute_dataset(self, dataset):
        if any(isinstance(spec, tf.SparseTensorSpec) for spec in tf.nest.flatten(dataset.element_spec)):
            return self.strategy.experimental_distribute_dataset(dataset)
        self.element_spec = dataset.element_spec
        return self.strategy.distribute_datasets_from_function(lambda worker: _split(dataset, worker))


def _split(dataset, worker):
    """Return the dataset of the parts that the replicas of this worker train on, one after the other.

    Every worker reads all batches. Its parts are those that TensorFlow's `AutoShardPolicy.DATA` gives it,
    the order in which Keras puts predictions together again.
    """
    replicas = worker.num_replicas_in_sync
    indices = tf.data.Dataset.range(worker.input_pipeline_id, replicas, worker.num_input_pipelines)

    def parts(*element):
        batch = element if isinstance(dataset.element_spec, tuple) else element[0]
        return indices.map(lambda index: _part(batch, tf.cast(index, tf.int32), replicas))

    split = dataset.flat_map(parts)
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:  # spares a check of every batch for the end
        split = split.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    return split.prefetch(tf.data.AUTOTUNE)


def _part(batch, index, replicas):
    """Return the part of one replica: sizes differ by one picture at most, the first ones have it.

    Where there are fewer pictures than replicas, the last ones get the first picture, which does not count:
    TensorFlow cannot train on none.
    """
    first = tf.nest.flatten(batch)[0]
    known = first.shape[0] if first.shape.rank else None
    count = tf.shape(first)[0] if known is None else known
    size = count // replicas + tf.cast(index < count % replicas, tf.int32)
    start = index * (count // replicas) + tf.minimum(index, count % replicas)
    counts = tf.cast(size > 0, tf.float32)
    start, size = tf.where(size > 0, start, 0), tf.maximum(size, 1)

    def own(leaf):
        leaf = leaf[start : start + size]
        if known and known % replicas == 0 and isinstance(leaf, tf.Tensor):
            leaf.set_shape([known // replicas, *leaf.shape[1:]])
        return leaf

    part = tf.nest.map_structure(own, batch)
    return part if known and known >= replicas else Part(part, counts)


def _distributed(batch, strategy):
    """Return the dataset of one batch that the caller gave whole."""
    batch = tree.map_structure(tf.convert_to_tensor, tuple(part for part in batch if part is not None))
    return _Splitter(strategy).experimental_distribute_dataset(tf.data.Dataset.from_tensors(batch))


def _maybe_symbolic_build(self, iterator=None, data_batch=None):
    """Build the model from what the dataset says of its batches; Keras takes the mean of the first ones."""
    if isinstance(self.distribute_strategy, tf.distribute.OneDeviceStrategy):
        return None  # as without a strategy; Keras begins an epoch, drops it and trains on the next one
    spec = getattr(getattr(iterator, "splitter", None), "element_spec", None)
    if spec is None:
        return _keras_maybe_symbolic_build(self, iterator, data_batch)
    if any(leaf.shape.rank is None for leaf in tf.nest.flatten(spec)):
        spec = _first_batch(iterator, self.distribute_strategy)
    _check_scope(self)
    with self.distribute_strategy.scope():
        self._symbolic_build(data_batch=tree.map_structure(_symbol, spec))
    if _several_workers(self.distribute_strategy) and not iterator.agreed:
        _check_workers_agree(self, iterator)
        iterator.agreed = True
    return None


def _check_scope(model):
    """Raise an error if the model was compiled outside: TensorFlow would sum and count wrongly."""
    created_inside = model.distribute_strategy.extended.variable_created_in_scope
    variables = [*model.metrics_variables, *getattr(model.optimizer, "variables", [])]
    if not all(created_inside(variable.value) for variable in variables):
        raise ValueError(
            "the model was built in the scope of a strategy and compiled outside of it; compile it within "
            "strategy.scope() too"
        )


def _check_workers_agree(model, iterator):
    """Raise an error on every worker if one of them differs in what would hang the others or mislead them."""
    here = {
        "version": (keras.version(), tf.__version__, kseg_version),
        "model": [(variable.path, tuple(variable.shape)) for variable in model.variables],
        "data": (iterator.splitter.element_spec, iterator.num_batches),
    }
    marks = tf.constant([[zlib.crc32(repr(value).encode()) for value in here.values()]], tf.int64)
    strategy = model.distribute_strategy

    @tf.function
    def gather():
        return strategy.run(lambda: tf.distribute.get_replica_context().all_gather(marks, axis=0))

    marks = strategy.experimental_local_results(gather())[0].numpy()
    for (name, value), column in zip(here.items(), marks.T, strict=True):
        if len(set(column)) > 1:
            raise ValueError(
                f"the workers differ in their {name}: run the same script with the same {name} on each. Here "
                f"it is {value!s:.500}"
            )


def _symbol(spec):
    return keras.KerasTensor(tuple(spec.shape), keras.backend.standardize_dtype(spec.dtype))


def _first_batch(iterator, strategy):
    for _, _, batches in iterator:
        part = next(batches)
        batch = part.batch if isinstance(part, Part) else part
        return tree.map_structure(lambda leaf: strategy.experimental_local_results(leaf)[0], batch)
    raise ValueError("the dataset is empty")


def _make_function(self, step_function):
    """Make the function of one training or evaluation step; of several, one after the other.

    TensorFlow refuses the graph of Keras' loop over several steps, as it does the sums over replicas in it.
    """
    if not _mirrors(self.distribute_strategy):
        return _keras_make_function(self, step_function)
    if self.jit_compile:  # Keras' "auto" knows; XLA itself speaks of resources on another device
        raise ValueError(
            f"jit_compile=True is for one device, and the strategy has "
            f"{self.distribute_strategy.num_replicas_in_sync}: compile the model with jit_compile=False"
        )
    one_step = _keras_make_function(self, _counted(self, step_function))

    def steps(iterator):
        if not isinstance(iterator, tf.distribute.DistributedIterator):  # the batch of train_on_batch
            logs = one_step(iter(_distributed(next(iterator), self.distribute_strategy)))
            return self._get_metrics_result_or_logs(logs)
        count, self.steps_per_execution = self.steps_per_execution, 1
        logs = None
        try:
            for _ in range(count):
                logs = one_step(iterator)
        except (StopIteration, tf.errors.OutOfRangeError):
            if logs is None:
                raise
        finally:
            self.steps_per_execution = count
        return logs

    return steps


def _counted(model, step):
    """Return `step`, which leaves the metrics as they were in a replica whose picture does not count."""

    def counted(data):
        if not isinstance(data, Part):
            return step(data)
        variables = model.metrics_variables
        before = [tf.identity(variable.value) for variable in variables]
        with counting(data.counts):
            logs = step(data.batch)
        for variable, value in zip(variables, before, strict=True):
            variable.assign(tf.where(data.counts > 0, variable.value, value))
        return logs

    return counted


def _make_predict_function(self, force=False):
    """Make the function of one prediction step; what stood in for empty batches is taken out again."""
    strategy = self.distribute_strategy
    if not _mirrors(strategy):
        return _keras_make_predict_function(self, force)
    if self.predict_function is not None and not force:
        return self.predict_function

    def predict_part(data):
        if not isinstance(data, Part):
            return self.predict_step(data)
        scores = self.predict_step(data.batch)
        return tree.map_structure(lambda x: x[: tf.shape(x)[0] * tf.cast(data.counts, tf.int32)], scores)

    @tf.autograph.experimental.do_not_convert
    def predict(batches):  # as many as steps_per_execution
        scores = [strategy.run(predict_part, args=(batch,)) for batch in batches]
        scores = [_reduce_per_replica(part, strategy, "concat") for part in scores]
        return tree.map_structure(lambda *parts: keras_trainer.concat(parts), *scores)

    function = predict if self.run_eagerly else tf.function(predict, reduce_retracing=True)

    def predict_function(batches):
        kinds = [isinstance(leaf, tf.distribute.DistributedValues) for leaf in tree.flatten(batches)]
        if not any(kinds):  # the batch of predict_on_batch
            batches = [next(iter(_distributed(batch, strategy))) for batch in batches]
        return function(batches)

    self.predict_function = predict_function
    return None


def _reduce_per_replica(values, strategy, reduction):
    """Reduce what the replicas return. With several workers Keras takes the mean of scalars over an axis."""
    if _several_workers(strategy) and reduction in ("auto", "mean"):
        return tree.map_structure(lambda value: strategy.reduce("MEAN", value, axis=None), values)
    return _keras_reduce_per_replica(values, strategy, reduction)
