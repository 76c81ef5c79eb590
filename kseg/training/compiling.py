"""`kseg.compile`: it only calls `model.compile`, with what fits the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import keras

from kseg.checks import check_tensorflow
from kseg.distribution import patch_trainer
from kseg.distribution.class_weight import name_class_weights
from kseg.graphs import ModelFacts, computes_in_float16, layers_inside, tell_batch_statistics
from kseg.losses import Auxiliary, CrossEntropy, WeightedSum
from kseg.losses.combining import for_replicas
from kseg.metrics import MeanIoU, PixelAccuracy
from kseg.optimizers import LossScaleOptimizer
from kseg.optimizers.by_name import named_optimizer
from kseg.replicas import num_replicas
from kseg.training.fitness import check_loss, fitting_metrics, only_one
from kseg.types import StatedActivation


def compile(
    model: keras.Model,
    steps: int | None = None,
    *,
    learning_rate: float | None = None,
    weight_decay: float | None = None,
    optimizer: str | keras.optimizers.Optimizer = "adamw",
    schedule: Literal["poly", "cosine"] | None = None,
    encoder_learning_rate: float | None = None,
    global_clipnorm: float | None = None,
    gradient_accumulation_steps: int | None = None,
    ema_momentum: float | None = None,
    loss: Any = None,
    ignore_class: int | Sequence[int] | None = 255,
    class_weights: Sequence[float] | None = None,
    class_names: Sequence[str] | None = None,
    activation: StatedActivation = None,
    multilabel: bool = False,
    **kwargs: Any,
) -> keras.Model:
    """Compile a segmentation model: AdamW, warm-up and poly schedule, cross-entropy, mean IoU.

    It only calls `model.compile`; whatever you give takes the place of what stands here. The loss of a model
    with auxiliary heads is wrapped in `kseg.losses.Auxiliary`; under a strategy of several devices one that
    is not of kseg in `kseg.losses.PerReplica`. The loss of a model that computes in float16 is scaled.

    Args:
        model: `keras.Model` of one picture and one output `(B, H, W, C)`; a subclass must be built.
        steps: `epochs * len(dataset)`: the rate warms up over the first tenth (200 steps at most) and
            reaches zero at the end. `None` keeps it constant.
        learning_rate: what warm-up and decay scale; by default 1e-3 for AdamW, 1e-2 for SGD.
        weight_decay: decoupled; not on biases and normalisations. By default 0.05 for AdamW; 1e-3 for
            SGD, whose momentum of 0.9 makes that the papers' 1e-4 in the loss.
        optimizer: `"adamw"`, `"sgd"`, or a `keras.optimizers.Optimizer`: the arguments of rate, decay,
            schedule, clipping, accumulation and averages, and `steps`, are then its own affair.
        schedule: `"poly"` (as `None`) or `"cosine"`, how the rate decays over `steps`.
        encoder_learning_rate: the peak for the encoder (see `kseg.graphs.encoder_layers`) where it
            differs; a tenth is usual for pretrained weights. To freeze it, set `trainable = False` on its
            layers before compiling: its batch statistics then hold too.
        global_clipnorm: the largest norm of all gradients together.
        gradient_accumulation_steps: int: as many batches make one update, with the mean of their
            gradients; `steps` still counts batches.
        ema_momentum: float below 1, 0.998 for instance: keep a moving average of the weights, and of the
            statistics of batch normalisation with them, which `kseg.callbacks.EvaluateEMA` evaluates and
            `SaveBest` saves. After n updates it spans n / 9 of them at most, so it forgets the beginning.
        loss: a loss instead of `kseg.losses.CrossEntropy`, or a sum of them; alone, or in a list or dict of
            one.
        ignore_class: int, several ints, or `None`: void.
        class_weights: `None` or one float per class, for the default loss.
        class_names: `None` or one name per class: the logs then show each class's IoU.
        activation: `"linear"` (logits), `"softmax"` or `"sigmoid"`, what a model ends in whose graph does not
            tell; `None` reads it there.
        multilabel: whether a pixel may have several labels: masks `(B, H, W, C)` of 0 and 1, void as 255 in
            a channel, one sigmoid per channel. For the default loss and metric, and what others must be.
        **kwargs: for `model.compile`; `metrics` takes the place of `kseg.metrics.MeanIoU`. The metric
            `"accuracy"` becomes `kseg.metrics.PixelAccuracy`.

    Returns:
        The model.

    Raises:
        RuntimeError: if Keras runs on another backend than TensorFlow.
        TypeError: if `model` is no `keras.Model`.
        ValueError: for a model of several inputs or outputs, or that is not built; if its graph does not tell
            what it gives; if a loss or a metric expects logits of a model that ends in softmax or sigmoid, or
            the reverse; if the activation cannot train; if `steps` is not positive; if names or weights do
            not fit the classes.

    Example:
        >>> import kseg
        >>> model = compile(kseg.build_conv_stack(2, depth=1, filters=4), steps=100)
        >>> model.loss.name
        'cross_entropy'
    """
    check_tensorflow("kseg.compile")
    facts = ModelFacts(model, activation, multilabel)
    if facts.output_kind == "classes":
        raise ValueError(
            f"model {model.name!r} gives class ids, which have no gradient: train it on its scores"
        )
    if loss is not None and class_weights is not None:
        raise ValueError("class_weights is for the default loss; give them to your own loss instead")
    loss = _loss(facts, only_one(loss, "loss"), ignore_class, class_weights)
    options = {
        "schedule": schedule,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "encoder_learning_rate": encoder_learning_rate,
        "global_clipnorm": global_clipnorm,
        "gradient_accumulation_steps": gradient_accumulation_steps,
        "ema_momentum": ema_momentum,
    }
    for layer in layers_inside(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            tell_batch_statistics(layer)
    optimizer = _optimizer(model, optimizer or "adamw", steps, options)
    if class_names is not None and "metrics" in kwargs:
        raise ValueError("class_names is for the default metric; give them to your own metrics instead")
    if "metrics" not in kwargs:
        kwargs["metrics"] = [_metric(MeanIoU, facts, ignore_class, class_names=class_names)]
    for argument in {"metrics", "weighted_metrics"} & set(kwargs):
        accuracy = _metric(PixelAccuracy, facts, ignore_class, name="accuracy")
        single = isinstance(kwargs[argument], str | keras.metrics.Metric)
        given = [kwargs[argument]] if single else kwargs[argument]
        kwargs[argument] = fitting_metrics(given, facts, accuracy)
    name_class_weights()
    model.compile(optimizer=optimizer, loss=loss, **kwargs)
    return model


def _loss(facts, loss, ignore_class, class_weights):
    """Return the loss that fits the scores of the model and the devices; `None` is the cross-entropy."""
    if loss is None:
        if class_weights is not None and len(class_weights) != facts.num_classes:
            raise ValueError(
                f"class_weights has {len(class_weights)} weights for {facts.num_classes} classes"
            )
        labels: dict[str, Any] = {"multilabel": True} if facts.multilabel else {}
        loss = CrossEntropy(ignore_class, class_weights, from_logits=facts.activation is None, **labels)
    check_loss(loss, facts)
    if num_replicas() > 1:
        patch_trainer()
    if facts.auxiliary_heads:
        return _with_heads(loss)
    return for_replicas(loss) if num_replicas() > 1 else loss


def _metric(kind, facts, ignore_class, **more):
    from_logits = facts.activation is None
    more = {**more, "multilabel": True} if facts.multilabel else more
    return kind(facts.num_classes, ignore_class, from_logits=from_logits, **more)


def _with_heads(loss):
    """Return a loss that sees the auxiliary heads too; parts of a sum that do already keep their weight."""
    if isinstance(loss, Auxiliary):
        return loss
    if any(isinstance(part, Auxiliary) for part, _ in getattr(loss, "parts", [])):
        parts = [(part if isinstance(part, Auxiliary) else Auxiliary(part), w) for part, w in loss.parts]
        return WeightedSum(parts)
    return Auxiliary(loss)


def _optimizer(model, optimizer, steps, options):
    """Return the optimizer, by name with `options` or the user's own; of a model in float16 it scales."""
    if isinstance(optimizer, str):
        optimizer = named_optimizer(model, optimizer, steps, **options)
    else:
        own = [name for name, value in {"steps": steps, **options}.items() if value is not None]
        if own:
            raise ValueError(
                f"{' and '.join(own)} {'is' if len(own) == 1 else 'are'} for the optimizers of "
                "kseg.compile; give them to your own optimizer instead (steps to its schedule)"
            )
    optimizer = keras.optimizers.get(optimizer)
    if computes_in_float16(model) and not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return LossScaleOptimizer(optimizer)
    return optimizer
