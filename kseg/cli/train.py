"""The command `kseg train`."""

import argparse
import shlex
from pathlib import Path

from kseg.cli.augmentation import add_augmentation, augmentation_of
from kseg.cli.options import (
    Commands,
    Progress,
    add_batch_size,
    add_data,
    add_epochs,
    add_output,
    command,
    data_options,
    reading_options,
)
from kseg.cli.values import counts, positive, rate, size
from kseg.cli.words import add_option, in_words_of_shell, keep_old_word

_DESCRIPTION = """Check the data, train, and keep the epoch of the best validation mean IoU or best --monitor.

  kseg train --data DIR --output runs/first
  kseg train --data DIR --model unet --backbone mobilenet_v2 --output runs/second

One fold of five, and all of them for a score of all pictures:

  for i in 1 2 3 4 5; do kseg train --data DIR --fold $i/5 --output runs/fold$i; done

Writes into the new folder --output: model.keras, classes.txt, config.json (what was asked for), history.csv,
learning_curve.png, predictions.png, report.html, and states/, from which --resume goes on after any
interruption.

On several machines, run the same command with --resume on each, which needs its own copy of DIR and

  export TF_CONFIG='{"cluster": {"worker": ["10.0.0.1:12345", "10.0.0.2:12345"]},
                     "task": {"type": "worker", "index": 0}}'

with index 1 on the second, and so on; the ports must be open between them. Worker 0 writes --output. When
one is lost all end with a line that names it: run the same commands again."""


def add_train(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = command(commands, "train", _train, "train on a folder of pictures and masks", _DESCRIPTION)
    add_data(parser, abbreviations=())
    add_output(parser, "new folder for the results", abbreviations=("--outpu", "--outp", "--out", "--ou"))
    _add_model(parser.add_argument_group("model"))
    crop_size = _add_steps(parser.add_argument_group("steps"))
    add_augmentation(parser)
    clipnorm, accumulation, ema = _add_optimizer(parser.add_argument_group("optimizer"))
    keep_old_word(parser, crop_size, "--crop", "--cro", "--cr")
    keep_old_word(parser, clipnorm, "--clip-norm")
    keep_old_word(parser, accumulation, "--accumulate")
    keep_old_word(parser, ema, "--ema", "--em")
    parser.add_argument(
        "--cache", metavar="memory | DIR", help="keep decoded pictures and masks in memory or in a folder"
    )
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument(
        "--deterministic", action="store_true", help="operators that give the same sums each time"
    )
    add_option(
        parser,
        "--resume",
        "--r",
        action="store_true",
        help="go on with the training in --output; it ends as if it had never stopped",
    )
    parser.add_argument(
        "--tensorboard", action="store_true", help="curves and predictions into tensorboard/ of --output"
    )
    parser.add_argument(
        "--log",
        nargs="+",
        default=(),
        metavar="NAME",
        help="services that keep the curves: tensorboard, wandb (pip install 'kseg[wandb]') and mlflow (pip "
        "install 'kseg[mlflow]'); where to is theirs to say, as by WANDB_PROJECT and MLFLOW_TRACKING_URI",
    )


def _add_model(group):
    add_option(
        group,
        "--model",
        "--m",
        "--mo",
        help="architecture; see kseg.list_models() (default: ddrnet, 5.7 M parameters, which two cores "
        "train; with --backbone unet)",
    )
    group.add_argument(
        "--variant", metavar="NAME", help="of the architecture: 23 of ddrnet, basic of segnet, resnet101, ..."
    )
    group.add_argument(
        "--backbone", help="encoder; see kseg.list_backbones() (default: the architecture's own)"
    )
    group.add_argument("--backbone-weights", metavar="imagenet | FILE", help="weights of the encoder")
    group.add_argument(
        "--output-stride",
        type=positive,
        metavar="N",
        help="pixels per feature of the encoder, 8, 16 or 32: fewer draw finer and cost more",
    )
    group.add_argument(
        "--filters",
        type=positive,
        metavar="N",
        help="width of the model's own encoder: fewer are faster and worse (default: the architecture's)",
    )
    group.add_argument(
        "--decoder-filters",
        type=counts,
        metavar="N,N,...",
        help="widths of the decoder on a backbone, coarse to fine, for instance 64,48,32,24,16",
    )
    what = "auxiliary heads, where the model has them"
    add_option(group, "--aux-heads", "--a", "--au", action="store_true", help=what)
    group.add_argument(
        "--start-from",
        type=Path,
        metavar="MODEL",
        help="take the weights of this .keras file wherever the layers agree; the classes may be others",
    )
    what = "keep the encoder's weights and batch statistics"
    add_option(group, "--freeze-encoder", "--f", action="store_true", help=what)
    add_option(
        group,
        "--precision",
        "--p",
        choices=("float32", "mixed_float16", "mixed_bfloat16"),
        default="float32",
        help="(default: %(default)s)",
    )


def _add_steps(group):
    crop_size = group.add_argument(
        "--crop-size", type=size, metavar="HxW", help="training crop (default: up to 320x320)"
    )
    add_batch_size(group, "pictures per step (default: %(default)s)", 8)
    add_epochs(group, "(default: %(default)s)", 50)
    group.add_argument(
        "--early-stopping",
        type=positive,
        metavar="N",
        help="stop after N epochs without a better one (default: never)",
    )
    group.add_argument(
        "--monitor",
        default="val_mean_iou",
        metavar="NAME",
        help="what tells the best epoch: val_loss, val_mean_iou, val_mean_dice, val_pixel_accuracy, "
        "val_boundary_iou, val_boundary_f1, val_iou_ and a class (default: %(default)s)",
    )
    group.add_argument(
        "--loss",
        nargs="+",
        metavar="NAME",
        help="one or several, which are added up: boundary, cross_entropy, dice, focal, jaccard, lovasz, "
        "ohem_cross_entropy, tversky (default: cross_entropy)",
    )
    group.add_argument(
        "--class-weights",
        choices=("none", "sqrt_median_frequency", "median_frequency"),
        default="none",
        help="give rare classes more weight (default: %(default)s)",
    )
    return crop_size


def _add_optimizer(group):
    group.add_argument(
        "--optimizer", choices=("adamw", "sgd"), default="adamw", help="(default: %(default)s)"
    )
    group.add_argument("--learning-rate", type=rate, help="peak (default: 0.001; SGD: 0.01)")
    group.add_argument(
        "--encoder-learning-rate", type=rate, help="peak for the encoder, a tenth for pretrained weights"
    )
    add_option(
        group,
        "--schedule",
        "--sc",
        choices=("poly", "cosine"),
        default="poly",
        help="(default: %(default)s)",
    )
    group.add_argument("--weight-decay", type=float, help="decoupled (default: 0.05; SGD: 0.001)")
    clipnorm = group.add_argument(
        "--global-clipnorm", type=rate, metavar="NORM", help="largest norm of all gradients together"
    )
    accumulation = add_option(
        group,
        "--gradient-accumulation-steps",
        "--gr",
        type=positive,
        metavar="N",
        help="batches that make one update",
    )
    ema = group.add_argument(
        "--ema-momentum",
        type=float,
        metavar="MOMENTUM",
        help="keep an average of the weights, 0.999 for instance",
    )
    return clipnorm, accumulation, ema


def _train(arguments: argparse.Namespace) -> int:
    from kseg.commands.train import train

    chosen = arguments.class_weights
    train(
        arguments.data,
        arguments.output,
        model=arguments.model,
        variant=arguments.variant,
        backbone=arguments.backbone,
        backbone_weights=arguments.backbone_weights,
        output_stride=arguments.output_stride,
        filters=arguments.filters,
        decoder_filters=arguments.decoder_filters,
        aux_heads=arguments.aux_heads or None,
        start_from=arguments.start_from,
        freeze_encoder=arguments.freeze_encoder,
        crop_size=arguments.crop_size,
        batch_size=arguments.batch_size,
        epochs=arguments.epochs,
        early_stopping=arguments.early_stopping,
        monitor=arguments.monitor,
        loss=arguments.loss,
        class_weights=None if chosen == "none" else chosen,
        precision=arguments.precision,
        seed=arguments.seed,
        deterministic=arguments.deterministic,
        resume=arguments.resume,
        tensorboard=arguments.tensorboard,
        log=arguments.log,
        command=shlex.join(["kseg", *arguments.words]),
        progress=Progress("checking"),
        report=lambda text: print(in_words_of_shell(text, arguments), flush=True),
        learning_rate=arguments.learning_rate,
        encoder_learning_rate=arguments.encoder_learning_rate,
        weight_decay=arguments.weight_decay,
        optimizer=arguments.optimizer,
        schedule=arguments.schedule,
        global_clipnorm=arguments.global_clipnorm,
        gradient_accumulation_steps=arguments.gradient_accumulation_steps,
        ema_momentum=arguments.ema_momentum,
        reading=reading_options(arguments),
        augmentation=augmentation_of(arguments),
        cache=arguments.cache,
        **data_options(arguments),
    )
    return 0
