"""Every loss once more, in NumPy and float64, and batches to try them on."""

import numpy as np
import pytest
from hypothesis import strategies as st

from kseg.losses import Boundary, CrossEntropy, Dice, Focal, Jaccard, Lovasz, OhemCrossEntropy, Tversky


def read(target, scores, ignore, from_logits):
    """One-hot targets, the pixels that count, and the probabilities, in float64."""
    scores = scores.astype("float64")
    if scores.shape[-1] == 1:
        scores = np.concatenate([0 * scores if from_logits else 1 - scores, scores], -1)
    if target.ndim == 3 or target.shape[-1] == 1:
        mask = target.reshape(scores.shape[:3]).astype(int)
        valid = ~np.isin(mask, ignore)
        target = np.eye(scores.shape[-1])[np.where(valid, mask, 0)]
    else:
        valid = target.sum(-1) > 0
    if from_logits:
        shifted = scores - scores.max(-1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    else:
        log_p = np.log(np.maximum(scores, 1e-7))
    return target.astype("float64"), valid, log_p, np.exp(log_p) if from_logits else scores


def weights_of(class_weights, classes):
    return np.ones(classes) if class_weights is None else np.array(class_weights)


def cross_entropy(target, scores, class_weights=None, sample_weight=1.0, ignore=(255,), from_logits=True):
    target, valid, log_p, _ = read(target, scores, ignore, from_logits)
    losses = -(target * weights_of(class_weights, target.shape[-1]) * log_p).sum(-1) * sample_weight
    return losses[valid].sum() / max(valid.sum(), 1)


def focal(target, scores, class_weights=None, sample_weight=1.0, ignore=(255,), from_logits=True, gamma=2.0):
    target, valid, log_p, _ = read(target, scores, ignore, from_logits)
    damped = -((-np.expm1(log_p)) ** gamma) * log_p
    losses = (target * weights_of(class_weights, target.shape[-1]) * damped).sum(-1) * sample_weight
    return losses[valid].sum() / max(valid.sum(), 1)


def ohem(
    target,
    scores,
    class_weights=None,
    sample_weight=1.0,
    ignore=(255,),
    from_logits=True,
    threshold=0.7,
    min_kept=0.0625,
):
    """Below the threshold; or the `min_kept` of the lowest probability, ties for the last places shared."""
    target, valid, log_p, _ = read(target, scores, ignore, from_logits)
    plain = -(target * log_p).sum(-1)
    losses = -(target * weights_of(class_weights, target.shape[-1]) * log_p).sum(-1) * sample_weight
    return mean_of_the_hardest(plain[valid], losses[valid], threshold, min_kept)


def mean_of_the_hardest(hardness, losses, threshold, min_kept):
    if not len(hardness):
        return 0.0
    places = int(np.ceil(np.float32(min_kept) * len(losses))) if isinstance(min_kept, float) else min_kept
    places = min(max(places, 1), len(losses))
    hard = hardness > -np.log(threshold)
    if hard.sum() >= places:
        return losses[hard].mean()
    last = np.sort(hardness)[::-1][places - 1]
    tied = np.abs(hardness - last) < 1e-9
    above = (hardness > last) & ~tied
    return (losses[above].sum() + (places - above.sum()) * losses[tied].mean()) / places


def tversky(
    target,
    scores,
    class_weights=None,
    sample_weight=1.0,
    ignore=(255,),
    from_logits=True,
    alpha=0.3,
    beta=0.7,
    gamma=1.0,
    smooth=1.0,
):
    target, valid, _, p = read(target, scores, ignore, from_logits)
    counts = (valid * sample_weight)[..., None]
    overlap, true_area, area = ((x * counts).sum((0, 1, 2)) for x in (target * p, target, p))
    whole = overlap + alpha * (area - overlap) + beta * (true_area - overlap)
    share = weights_of(class_weights, target.shape[-1]) * (true_area > 0)
    if share.sum() == 0:
        return 0.0
    losses = np.maximum(1 - (overlap + smooth) / (whole + smooth), 0) ** gamma
    return (share * losses).sum() / share.sum()


def dice(target, scores, smooth=1.0, **options):
    return tversky(target, scores, alpha=0.5, beta=0.5, smooth=smooth / 2, **options)


def jaccard(target, scores, smooth=1.0, **options):
    return tversky(target, scores, alpha=1.0, beta=1.0, smooth=smooth, **options)


def jaccard_of_errors(true, errors):
    """The Lovász extension as it is defined: each error by what it takes away from the index."""
    order = np.argsort(-errors, kind="stable")
    total, wrong, last, value = true.sum(), np.zeros(len(true), bool), 0.0, 0.0
    for pixel in order:
        wrong[pixel] = True
        union = total + (wrong & (true == 0)).sum()
        loss = 1 - (total - (wrong & (true == 1)).sum()) / max(union, 1)
        value += errors[pixel] * (loss - last)
        last = loss
    return value


def lovasz(target, scores, class_weights=None, sample_weight=1.0, ignore=(255,), from_logits=True):
    target, valid, _, p = read(target, scores, ignore, from_logits)
    target = np.eye(target.shape[-1])[target.argmax(-1)]
    counted = valid & (sample_weight * np.ones(valid.shape) > 0)
    losses = [
        jaccard_of_errors(target[counted][:, c], np.abs(target - p)[counted][:, c])
        for c in range(p.shape[-1])
    ]
    share = weights_of(class_weights, p.shape[-1]) * (target[counted].sum(0) > 0)
    return (share * losses).sum() / share.sum() if share.sum() else 0.0


def widest(x, window):
    """The maximum over a window around each pixel of `(B, H, W, C)`, clipped at the edge."""
    reach, result = window // 2, np.empty_like(x)
    for y, z in np.ndindex(x.shape[1:3]):
        part = x[:, max(0, y - reach) : y + reach + 1, max(0, z - reach) : z + reach + 1]
        result[:, y, z] = part.max((1, 2))
    return result


def boundary(
    target,
    scores,
    class_weights=None,
    sample_weight=1.0,
    ignore=(255,),
    from_logits=True,
    width=3,
    tolerance=5,
):
    target, valid, _, p = read(target, scores, ignore, from_logits)
    valid, counts = valid[..., None], (valid * sample_weight)[..., None]
    true, guess = ((widest((1 - x) * valid, width) - (1 - x) * valid) * valid for x in (target, p))
    near_true, near_guess = widest(true, tolerance), widest(guess, tolerance)
    guessed, right, there, found = (
        (x * counts).sum((0, 1, 2)) for x in (guess, guess * near_true, true, true * near_guess)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(guessed > 0, right / guessed, 0)
        recall = np.where(there > 0, found / there, 0)
        f1 = np.where(precision + recall > 0, 2 * precision * recall / (precision + recall), 0)
    share = weights_of(class_weights, p.shape[-1]) * (there > 0)
    return (share * (1 - f1)).sum() / share.sum() if share.sum() else 0.0


FORMULAS = [
    (CrossEntropy, cross_entropy),
    (OhemCrossEntropy, ohem),
    (Focal, focal),
    (Dice, dice),
    (Jaccard, jaccard),
    (Tversky, tversky),
    (Lovasz, lovasz),
    (Boundary, boundary),
]


@st.composite
def batches(draw):
    """Targets, scores, and the options of the loss, for the formula and for the loss."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = tuple(draw(st.integers(1, n)) for n in (3, 6, 6))
    channels = draw(st.integers(1, 6))
    classes = max(channels, 2)
    void = rng.random(size) < draw(st.sampled_from([0, 0.3, 1]))
    target = np.where(void, 255, rng.integers(0, classes, size))
    form = draw(st.sampled_from(["ids", "ids with a last axis"] + ["one-hot", "soft"] * (channels > 1)))
    if form == "one-hot":
        target = (target[..., None] == np.arange(classes)).astype("float32")
    elif form == "soft":
        target = (rng.dirichlet(np.ones(classes), size) * ~void[..., None]).astype("float32")
    else:
        target = target.astype(draw(st.sampled_from(["uint8", "int32", "int64"])))
        target = target[..., None] if form == "ids with a last axis" else target
    from_logits = draw(st.booleans())
    scores = rng.standard_normal((*size, channels))
    if from_logits:
        scores *= 3
    else:
        scores = 1 / (1 + np.exp(-scores))
        scores /= scores.sum(-1, keepdims=True) if channels > 1 else 1
    options = {"from_logits": from_logits, "class_weights": None}
    if draw(st.booleans()):
        options["class_weights"] = rng.uniform(0.1, 2, classes).tolist()
    weight = rng.uniform(0, 2, size)
    sample_weight = draw(st.sampled_from([None, weight[:, 0, 0], weight, weight[..., None]]))
    return target, scores.astype("float32"), sample_weight, options


def per_pixel(weight):
    if weight is None:
        return 1.0
    return weight[:, None, None] if weight.ndim == 1 else weight.reshape(weight.shape[:3])


def by_pairs(values):
    """Return pairs `(loss, value)`: the first loss has every value, others one in turn; the rest is slow."""
    return [
        pytest.param(loss, value, id=f"{loss.__name__}-{value}", marks=[] if quick else pytest.mark.slow)
        for number, (loss, _) in enumerate(FORMULAS)
        for place, value in enumerate(values)
        for quick in [number == 0 or place == number % len(values)]
    ]
