"""The course of a training as a picture."""

import itertools
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from kseg.quiet import quiet_matplotlib

_LINE_COLORS = ("tab:blue", "tab:red", "tab:green", "tab:orange", "tab:purple")
_DPI = 128  # of curves; a power of two, so that their pixels come out exactly


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
