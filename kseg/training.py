"""Optimiser, schedule, loss and metrics that fit a model; the user then calls `model.fit`."""

import inspect
from numbers import Real

import keras
from keras import ops

from kseg.arguments import check_tensorflow
from kseg.distribution import mend_trainer, replicas
from kseg.layers import AuxiliaryOutputs, CropLike, Upsample
from kseg.losses import Auxiliary, CrossEntropy, Focal, OhemCrossEntropy, PerReplica, WeightedSum
from kseg.losses.base import for_replicas
from kseg.metrics import MeanIoU

_OF_ONE_CLASS = (CrossEntropy, OhemCrossEntropy, Focal)  # they look at the pixel's own class alone


@keras.saving.register_keras_serializable(package="kseg")
class WarmupPoly(keras.optimizers.schedules.LearningRateSchedule):
    """Polynomial decay to zero, `rate * (1 - step / steps) ** power`, times a linear warm-up.

    Reference: Chen et al. 2018 (DeepLab v2), section 4.1 ("poly"), with power 0.9.

    Args:
        learning_rate: float; the decay goes on during the warm-up, so it is not quite reached.
        steps: int, all steps of the training; 0 keeps the rate after the warm-up.
        warmup_steps: int, steps of the warm-up.
        power: float.
        name: str.

    Example:
        >>> schedule = WarmupPoly(0.1, steps=100, warmup_steps=10)
        >>> [round(float(schedule(step)), 3) for step in (0, 5, 10, 100)]
        [0.01, 0.057, 0.091, 0.0]
    """

    def __init__(self, learning_rate, steps=0, warmup_steps=0, power=0.9, name="warmup_poly"):
        super().__init__()
        if steps and warmup_steps >= steps:
            raise ValueError(f"warmup_steps={warmup_steps} must be smaller than steps={steps}")
        self.learning_rate = learning_rate
        self.steps = steps
        self.warmup_steps = warmup_steps
        self.power = power
        self.name = name

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rate = self.learning_rate
        if self.warmup_steps:
            rate = rate * ops.minimum(1.0, (step + 1) / self.warmup_steps)
        if self.steps:
            rate = rate * ops.power(ops.maximum(0.0, 1 - step / self.steps), self.power)
        return ops.cast(rate, "float32")

    def get_config(self):
        return {
            "learning_rate": self.learning_rate,
            "steps": self.steps,
            "warmup_steps": self.warmup_steps,
            "power": self.power,
            "name": self.name,
        }


@keras.saving.register_keras_serializable(package="kseg")
class AdamW(keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` without weight decay on biases and normalisations.

    `exclude_from_weight_decay` does the same until the model is saved: the file does not keep it.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])


def output_activation(model):
    """Return `"softmax"`, `"sigmoid"` or `None` (logits): what the model's last layer applies."""
    last = model.outputs[0]._keras_history.operation
    if isinstance(last, keras.Model):
        return output_activation(last)
    if isinstance(last, AuxiliaryOutputs):
        last = last._inbound_nodes[0].arguments.args[0]._keras_history.operation
    if isinstance(last, CropLike | Upsample | keras.layers.Identity) or _is_linear(last):
        return output_activation(keras.Model(model.inputs, last._inbound_nodes[0].input_tensors[0]))
    kind = type(last).__name__.lower()  # the layer Softmax, or an operation of keras.ops
    if kind in ("softmax", "sigmoid"):
        return kind
    name = getattr(getattr(last, "activation", None), "__name__", None)
    return name if name in ("softmax", "sigmoid") else None


def _is_linear(layer):
    return isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.linear


def has_auxiliary_heads(model):
    """Tell whether a training step of the model gives the scores of auxiliary heads too."""
    last = model.outputs[0]._keras_history.operation
    return isinstance(last, AuxiliaryOutputs) or (isinstance(last, keras.Model) and has_auxiliary_heads(last))


def compile(
    model,
    steps=None,
    *,
    learning_rate=1e-3,
    weight_decay=0.05,
    optimizer=None,
    loss=None,
    ignore_class=255,
    class_weights=None,
    class_names=None,
    **kwargs,
):
    """Compile a segmentation model: AdamW, warm-up and poly schedule, cross-entropy, mean IoU.

    It only calls `model.compile`; whatever you give takes the place of what stands here. The loss of a model
    with auxiliary heads is wrapped in `kseg.losses.Auxiliary`; under a strategy of several devices one that
    is not of kseg in `kseg.losses.PerReplica`.

    Args:
        model: `keras.Model` with one output `(B, H, W, C)`.
        steps: int, `epochs * len(dataset)`: the rate warms up over the first tenth (200 steps at most) and
            reaches zero at the end. `None` keeps it constant.
        learning_rate: float, what warm-up and decay scale.
        weight_decay: float, decoupled; not on biases and normalisations.
        optimizer: a `keras.optimizers.Optimizer` instead of AdamW; the two arguments above and `steps` are
            then its own affair.
        loss: a loss instead of `kseg.losses.CrossEntropy`, or a sum of them.
        ignore_class: int, several ints, or `None`: void.
        class_weights: `None` or one float per class, for the default loss.
        class_names: `None` or one name per class: the logs then show each class's IoU.
        **kwargs: for `model.compile`; `metrics` takes the place of `kseg.metrics.MeanIoU`.

    Returns:
        The model.

    Raises:
        RuntimeError: if Keras runs on another backend than TensorFlow.
        ValueError: if the loss expects logits of a model that ends in softmax or sigmoid, or the reverse;
            if the activation cannot train; if `steps` is not positive; if names or weights do not fit the
            classes.

    Example:
        >>> import kseg
        >>> model = compile(kseg.build_conv_stack(2, depth=1, filters=4), steps=100)
        >>> model.loss.name
        'cross_entropy'
    """
    check_tensorflow("kseg.compile")
    if isinstance(learning_rate, bool) or not isinstance(learning_rate, Real) or not learning_rate > 0:
        raise ValueError(
            f"learning_rate must be a number above 0, got {learning_rate!r}; a schedule goes into optimizer="
        )
    if len(model.outputs) != 1:
        raise ValueError(
            f"model {model.name!r} has {len(model.outputs)} outputs; kseg trains models with one"
        )
    channels = model.output_shape[-1]
    num_classes = max(channels, 2)
    activation = output_activation(model)
    from_logits = activation is None
    if loss is None:
        if class_weights is not None and len(class_weights) != num_classes:
            raise ValueError(f"class_weights has {len(class_weights)} weights for {num_classes} classes")
        loss = CrossEntropy(ignore_class, class_weights, from_logits=from_logits)
    elif class_weights is not None:
        raise ValueError("class_weights is for the default loss; give them to your own loss instead")
    _check_activation(loss, activation, channels)
    if replicas() > 1:
        mend_trainer()
    if has_auxiliary_heads(model):
        loss = _with_heads(loss)
    elif replicas() > 1:
        loss = for_replicas(loss)
    if optimizer is None:
        optimizer = _adamw(steps, learning_rate, weight_decay)
    elif steps is not None:
        raise ValueError("steps is for the default optimizer; give your own optimizer a schedule instead")
    if "metrics" not in kwargs:
        kwargs["metrics"] = [MeanIoU(num_classes, ignore_class, class_names, from_logits)]
    elif class_names is not None:
        raise ValueError("class_names is for the default metric; give them to your own metrics instead")
    model.compile(optimizer=optimizer, loss=loss, **kwargs)
    return model


def _with_heads(loss):
    """Return a loss that sees the auxiliary heads too; parts of a sum that do already keep their weight."""
    if isinstance(loss, Auxiliary):
        return loss
    if any(isinstance(part, Auxiliary) for part, _ in getattr(loss, "parts", [])):
        parts = [(part if isinstance(part, Auxiliary) else Auxiliary(part), w) for part, w in loss.parts]
        return WeightedSum(parts)
    return Auxiliary(loss)


def _adamw(steps, learning_rate, weight_decay):
    schedule = learning_rate
    if steps is not None:
        if steps < 1:
            raise ValueError(f"steps must be a positive int: epochs * len(dataset), got {steps!r}")
        schedule = WarmupPoly(learning_rate, steps, warmup_steps=min(200, steps // 10))
    return AdamW(schedule, weight_decay=weight_decay)


def _check_activation(loss, activation, channels):
    from_logits = activation is None
    if activation == "softmax" and channels == 1:
        raise ValueError("softmax over one channel is always 1; use sigmoid or None, or two classes")
    loss = keras.losses.get(loss)
    loss = loss.loss if isinstance(loss, Auxiliary) else loss
    for part, _ in getattr(loss, "parts", [(loss, 1.0)]):
        part = part.loss if isinstance(part, PerReplica) else part
        if isinstance(part, _OF_ONE_CLASS) and activation == "sigmoid" and channels > 1:
            raise ValueError(
                f"cross-entropy on sigmoid trains every one of the {channels} channels to 1; use softmax or "
                "None, or another loss"
            )
        expects = _from_logits(part)
        if expects not in (None, from_logits):
            gives = "logits" if from_logits else "probabilities"
            raise ValueError(
                f"loss {getattr(part, 'name', part)!r} has from_logits={expects}, but the model gives "
                f"{gives}; set from_logits={from_logits}"
            )


def _from_logits(loss):
    """Return what a loss expects, `None` if it does not say. A function says it by the argument's default."""
    if hasattr(loss, "from_logits"):
        return loss.from_logits
    argument = inspect.signature(loss).parameters.get("from_logits")
    return None if argument is None else argument.default
