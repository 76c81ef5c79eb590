"""Pictures of masks: palette, colours, overlay, legend; and of a training: its curves."""

import itertools
import warnings
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kseg.quiet import quiet_matplotlib

_VOID_COLOR = (0, 0, 0)
# Twenty colours that stay apart, after Sasha Trubetskoy's list.
_COLORS = (
    (230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48), (145, 30, 180),
    (70, 240, 240), (240, 50, 230), (210, 245, 60), (250, 190, 212), (0, 128, 128), (220, 190, 255),
    (170, 110, 40), (255, 250, 200), (128, 0, 0), (170, 255, 195), (128, 128, 0), (255, 215, 180),
    (0, 0, 128), (128, 128, 128),
)  # fmt: skip
_LINE_COLORS = ("tab:blue", "tab:red", "tab:green", "tab:orange", "tab:purple")
_DPI = 128  # of curves; a power of two, so that their pixels come out exactly


def palette(num_classes: int) -> np.ndarray:
    """Return a colour per class, uint8 `(num_classes, 3)` RGB; the same class always has the same colour.

    Example:
        >>> palette(2).tolist()
        [[230, 25, 75], [60, 180, 75]]
    """
    colors = list(_COLORS[:num_classes])
    rng = np.random.default_rng(7)
    while len(colors) < num_classes:
        colors.append(tuple(rng.integers(40, 256, 3)))
    return np.array(colors, dtype="uint8").reshape(-1, 3)


def colorize(mask: np.ndarray, colors: np.ndarray | None = None) -> np.ndarray:
    """Turn class ids into colours; ids without a colour, such as void, are black.

    Args:
        mask: `(H, W)` integer ids.
        colors: uint8 `(num_classes, 3)`; `None` takes `palette`.

    Returns:
        uint8 `(H, W, 3)`.
    """
    mask = np.asarray(mask)
    colors = palette(256) if colors is None else np.asarray(colors, dtype="uint8")
    known = (mask >= 0) & (mask < len(colors)) & (mask != 255)
    void = np.array(_VOID_COLOR, "uint8")
    return np.where(known[..., None], colors[np.where(known, mask, 0)], void).astype("uint8")


def overlay(
    image: np.ndarray,
    mask: np.ndarray,
    class_names: Sequence[str] | None = None,
    *,
    alpha: float = 0.5,
    colors: np.ndarray | None = None,
) -> np.ndarray:
    """Lay a mask over its picture; with `class_names`, add a legend at the right.

    Void and ids without a colour leave the picture as it is.

    Args:
        image: `(H, W, C)` or `(H, W)`, values 0–255; the first three channels are shown.
        mask: `(H, W)` integer ids.
        class_names: `None` or one name per class; the legend shows the classes in the mask.
        alpha: float in [0, 1], how opaque the mask is.
        colors: uint8 `(num_classes, 3)`; `None` takes `palette`.

    Returns:
        uint8 `(H, W, 3)`, wider by the legend where there is one.

    Raises:
        ValueError: if picture and mask differ in size.

    Example:
        >>> overlay(np.zeros((8, 8, 3)), np.ones((8, 8), "uint8")).shape
        (8, 8, 3)
    """
    mask = np.asarray(mask)
    picture = as_rgb(image)
    if picture.shape[:2] != mask.shape:
        raise ValueError(
            f"image has {picture.shape[:2]} pixels (H, W) and mask {mask.shape}; they must agree"
        )
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], got {alpha!r}")
    tinted = colorize(mask, colors)
    shown = ((mask >= 0) & (mask != 255))[..., None] & (
        mask < len(palette(256) if colors is None else colors)
    )[..., None]
    blended = np.where(shown, (1 - alpha) * picture + alpha * tinted, picture)
    result = np.round(blended).astype("uint8")
    if class_names is None:
        return result
    present = [index for index in np.unique(mask).tolist() if 0 <= index < len(class_names)]
    return np.concatenate([result, legend(class_names, len(result), only=present, colors=colors)], axis=1)


def as_rgb(image: np.ndarray) -> np.ndarray:
    """Return a picture of any number of channels as uint8 `(H, W, 3)`."""
    image = np.asarray(image)
    image = image[..., None] if image.ndim == 2 else image
    image = image[..., :3] if image.shape[-1] >= 3 else np.repeat(image[..., :1], 3, axis=-1)
    return np.clip(np.round(image), 0, 255).astype("uint8")


def legend(
    class_names: Sequence[str],
    height: int,
    *,
    only: Iterable[int] | None = None,
    colors: np.ndarray | None = None,
) -> np.ndarray:
    """Draw names beside their colours.

    Args:
        class_names: one name per class.
        height: pixels; the text grows and shrinks with it.
        only: `None` or the ids to show.
        colors: uint8 `(num_classes, 3)`; `None` takes `palette`.

    Returns:
        uint8 `(height, width, 3)`, as wide as its longest name.
    """
    colors = palette(max(len(class_names), 1)) if colors is None else np.asarray(colors)
    ids = list(range(len(class_names))) if only is None else list(only)
    row = max(8, min(22, height // max(len(ids), 1)))
    font = ImageFont.load_default(size=max(6, row * 0.65))
    widths = [font.getlength(str(class_names[index])) for index in ids]
    width = int(row * 1.6 + max(widths, default=0)) + 4
    canvas = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(canvas)
    for line, index in enumerate(ids):
        top = line * row
        draw.rectangle((3, top + 2, row, top + row - 2), fill=tuple(int(c) for c in colors[index]))
        draw.text((row * 1.35, top + row / 2), str(class_names[index]), fill="black", font=font, anchor="lm")
    return np.asarray(canvas)


def gallery(
    rows: list, headings: Sequence[str], *, class_names: Sequence[str] | None = None, zoom: int = 1
) -> np.ndarray:
    """Put pictures in a grid under headings, for instance image | truth | prediction.

    Args:
        rows: list of rows of uint8 `(H, W, 3)` pictures of one size.
        headings: one str per column.
        class_names: `None` or names for a legend at the right.
        zoom: pixels are repeated this often.

    Returns:
        uint8 `(H', W', 3)`.
    """
    gap, head = 6, 26
    cells = [[np.kron(cell, np.ones((zoom, zoom, 1), "uint8")) for cell in row] for row in rows]
    height, width = cells[0][0].shape[:2]
    size = (len(headings) * (width + gap) + gap, head + len(cells) * (height + gap))
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=16)
    for column, heading in enumerate(headings):
        left = gap + column * (width + gap)
        draw.text((left + width / 2, head / 2), heading, fill="black", font=font, anchor="mm")
        for line, row in enumerate(cells):
            canvas.paste(Image.fromarray(row[column]), (left, head + line * (height + gap)))
    result = np.asarray(canvas)
    if class_names is None:
        return result
    side = legend(class_names, len(result) - head)
    side = np.concatenate([np.full((head, side.shape[1], 3), 255, "uint8"), side])
    return np.concatenate([result, side], axis=1)


def comparison(pairs: list, masks: list, class_names: Sequence[str], zoom: int = 1) -> np.ndarray:
    """Put pictures beside their true and their predicted masks, with a legend.

    Args:
        pairs: list of `(image, mask)`, `(H, W, C)` of values 0–255 and `(H, W)` of class ids, of one size.
        masks: list of predicted masks `(H, W)`.
        class_names: one name per class.
        zoom: pixels are repeated this often.

    Returns:
        uint8 `(H', W', 3)`.
    """
    rows = []
    for (image, truth), predicted in zip(pairs, masks, strict=True):
        shown = as_rgb(image)
        rows.append([shown, *(overlay(shown, mask, alpha=0.8) for mask in (truth, predicted))])
    return gallery(rows, ["image", "truth", "prediction"], class_names=class_names, zoom=zoom)


def learning_curve(
    curves: Mapping[str, Mapping[str, Sequence[float]]], size: tuple[int, int] = (260, 420)
) -> np.ndarray:
    """Draw the course of a training: one panel for each entry, side by side.

    The best epoch is marked, of a panel's `val_*` where that has a value, else of its first line. Best is the
    lowest value of a name with "loss" in it, the highest of another.

    Args:
        curves: panels, `{title: {name: values}}`, a value per epoch; what is not finite is left out.
        size: `(H, W)` of a panel in pixels.

    Returns:
        uint8 `(H, W * panels, 3)`.
    """
    height, width = size
    if not curves:
        return np.zeros((height, 0, 3), "uint8")
    with quiet_matplotlib(), warnings.catch_warnings(action="ignore"):  # a letter that no font has
        from matplotlib import style  # it takes a while to load, and only what draws needs it
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        with style.context("default"):  # whatever the settings of the user
            layout = ConstrainedLayoutEngine(w_pad=0.08)  # inches; half of the marker of a last epoch
            figure = Figure((width * len(curves) / _DPI, height / _DPI), _DPI, layout=layout)
            canvas = FigureCanvasAgg(figure)
            panels = figure.subplots(1, len(curves), squeeze=False)[0]
            for axes, (title, lines) in zip(panels, curves.items(), strict=True):
                _draw_panel(axes, str(title), {name: _finite(values) for name, values in lines.items()})
                _label_epochs(axes, lines.values())
            canvas.draw()
            return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _finite(values):
    """Return the epochs, from 1, and the values that are finite."""
    values = np.asarray(values, "float64")
    epochs = np.flatnonzero(np.isfinite(values))
    return epochs + 1, values[epochs]


def _draw_panel(axes, title, points):
    """Draw the lines of a panel under its title, its best epoch and a legend."""
    drawn = []
    for found, color in zip(points.values(), itertools.cycle(_LINE_COLORS), strict=False):
        marker = "o" if len(found[0]) < 30 else None
        style = {"color": color, "linewidth": 1.2, "marker": marker, "markersize": 2.5}
        drawn += axes.plot(*found, clip_on=False, **style)
    columns = 3
    legend = axes.legend(
        drawn,
        [""] * len(drawn),
        loc="lower left",
        bbox_to_anchor=(-0.02, 1),
        ncols=columns,
        fontsize=6.5,
        frameon=False,
        handlelength=1.4,
        columnspacing=1.2,
        borderaxespad=0.1,
    )
    legend.set_in_layout(False)  # a wide one must not narrow the panel
    for text, name in zip(legend.get_texts(), points, strict=True):
        text.set(text=name, parse_math=False)  # a name is no formula
    above = 4 + 11 * -(-len(drawn) // columns)
    axes.set_title(title, loc="left", fontsize=8, pad=above, parse_math=False)
    best = _best(points)
    if best is None:
        axes.text(0.5, 0.5, "no value yet", transform=axes.transAxes, ha="center", fontsize=7, color="gray")
        axes.set_yticks([])
        return
    axes.plot(*best, "o", markersize=6, markerfacecolor="none", color="black", clip_on=False)
    named = f"○ best: {best[1]:.4g}, epoch {best[0]}"
    axes.set_title(named, loc="right", fontsize=7, pad=above)


def _best(points):
    """Return the epoch and the value to be marked, `None` if there is none."""
    found = {name: each for name, each in points.items() if len(each[0])}
    if not found:
        return None
    name = next((name for name in found if name.startswith("val_")), next(iter(found)))
    epochs, values = found[name]
    index = values.argmin() if "loss" in name else values.argmax()
    return int(epochs[index]), float(values[index])


def _label_epochs(axes, lines):
    """Set the axes of a panel: whole epochs, from the first that has a value to the last one."""
    first = min((int(_finite(values)[0][0]) for values in lines if len(_finite(values)[0])), default=1)
    last = max((len(values) for values in lines), default=1)
    axes.set_xlim(*((first, last) if last > first else (first - 0.5, first + 0.5)))
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=6, min_n_ticks=1)
    axes.yaxis.get_major_locator().set_params(nbins=5)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.6g}")
    axes.set_xlabel("epoch", fontsize=7)
    axes.tick_params(labelsize=6.5, color="lightgray")
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[:].set_color("lightgray")
    axes.spines[["top", "right"]].set_visible(False)
