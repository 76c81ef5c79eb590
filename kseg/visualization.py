"""Pictures of masks: palette, colours, overlay, legend."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_VOID_COLOR = (0, 0, 0)
# Twenty colours that stay apart, after Sasha Trubetskoy's list.
_COLORS = (
    (230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48), (145, 30, 180),
    (70, 240, 240), (240, 50, 230), (210, 245, 60), (250, 190, 212), (0, 128, 128), (220, 190, 255),
    (170, 110, 40), (255, 250, 200), (128, 0, 0), (170, 255, 195), (128, 128, 0), (255, 215, 180),
    (0, 0, 128), (128, 128, 128),
)  # fmt: skip


def palette(num_classes):
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


def colorize(mask, colors=None):
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
    return np.where(known[..., None], colors[np.where(known, mask, 0)], np.uint8(_VOID_COLOR)).astype("uint8")


def overlay(image, mask, class_names=None, *, alpha=0.5, colors=None):
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


def as_rgb(image):
    """Return a picture of any number of channels as uint8 `(H, W, 3)`."""
    image = np.asarray(image)
    image = image[..., None] if image.ndim == 2 else image
    image = image[..., :3] if image.shape[-1] >= 3 else np.repeat(image[..., :1], 3, axis=-1)
    return np.clip(np.round(image), 0, 255).astype("uint8")


def legend(class_names, height, *, only=None, colors=None):
    """Draw names beside their colours.

    Args:
        class_names: one name per class.
        height: int, pixels; the text grows and shrinks with it.
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


def gallery(rows, headings, *, class_names=None, zoom=1):
    """Put pictures in a grid under headings, for instance image | truth | prediction.

    Args:
        rows: list of rows of uint8 `(H, W, 3)` pictures of one size.
        headings: one str per column.
        class_names: `None` or names for a legend at the right.
        zoom: int, pixels are repeated this often.

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


def comparison(pairs, masks, class_names, zoom=1):
    """Put pictures beside their true and their predicted masks, with a legend.

    Args:
        pairs: list of `(image, mask)`, `(H, W, C)` of values 0–255 and `(H, W)` of class ids, of one size.
        masks: list of predicted masks `(H, W)`.
        class_names: one name per class.
        zoom: int, pixels are repeated this often.

    Returns:
        uint8 `(H', W', 3)`.
    """
    rows = []
    for (image, truth), predicted in zip(pairs, masks, strict=True):
        shown = as_rgb(image)
        rows.append([shown, *(overlay(shown, mask, alpha=0.8) for mask in (truth, predicted))])
    return gallery(rows, ["image", "truth", "prediction"], class_names=class_names, zoom=zoom)


def learning_curve(curves, size=(260, 420)):
    """Draw the course of a training: one panel for each entry, side by side.

    Args:
        curves: dict of panels, `{title: {name: values}}`, a value per epoch; what is not finite is left out.
        size: `(H, W)` of a panel in pixels.

    Returns:
        uint8 `(H, W * panels, 3)`.
    """
    height, width = size
    canvas = Image.new("RGB", (width * len(curves), height), "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=13)
    left, right, top, bottom = 58, 12, 44, 30
    for panel, (title, lines) in enumerate(curves.items()):
        origin = panel * width
        draw.text((origin + left, 6), title, fill="black", font=font)
        finite = [value for values in lines.values() for value in values if np.isfinite(value)]
        if not finite:
            continue
        low, high = min(finite), max(finite)
        span = (high - low) or 1.0
        epochs = max(len(values) for values in lines.values())
        box = (origin + left, top, origin + width - right, height - bottom)
        draw.rectangle(box, outline=(200, 200, 200))
        for value, y in ((high, box[1]), (low, box[3])):
            draw.text((box[0] - 6, y), f"{value:.3g}", fill="black", font=font, anchor="rm")
        for epoch, x in ((1, box[0]), (epochs, box[2])):
            draw.text((x, box[3] + 6), str(epoch), fill="black", font=font, anchor="mt")
        for number, (name, values) in enumerate(lines.items()):
            color = ((31, 119, 180), (214, 39, 40), (44, 160, 44))[number % 3]
            points = [
                (
                    box[0] + (box[2] - box[0]) * epoch / max(epochs - 1, 1),
                    box[3] - (box[3] - box[1]) * (value - low) / span,
                )
                for epoch, value in enumerate(values)
                if np.isfinite(value)
            ]
            draw.line(points, fill=color, width=2)
            for x, y in points if len(points) < 30 else points[-1:]:
                draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=color)
            draw.text((box[0] + 110 * number, 24), name, fill=color, font=font)
    return np.asarray(canvas)
