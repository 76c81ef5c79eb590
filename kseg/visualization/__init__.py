"""Pictures of masks: palette, colours, overlay, contours, legend, sheets; and of a training: its curves."""

from kseg.visualization.colors import colorize, palette
from kseg.visualization.curves import learning_curve
from kseg.visualization.legends import legend
from kseg.visualization.overlays import as_rgb, contours, overlay
from kseg.visualization.sheets import comparison, gallery, side_by_side
from kseg.visualization.shown import Shown, show

__all__ = [
    "Shown",
    "as_rgb",
    "colorize",
    "comparison",
    "contours",
    "gallery",
    "learning_curve",
    "legend",
    "overlay",
    "palette",
    "show",
    "side_by_side",
]
