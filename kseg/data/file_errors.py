"""What is wrong with picture files, as errors that tell more than their words."""

from kseg.types import PathLike


class UnfitError(ValueError):
    """What is wrong with a file, and the mend; the file is named by who asked."""


class DepthError(ValueError):
    """A picture that holds other numbers than 0–255 in 8 bits.

    Args:
        name: of the file.
        low, high: the least and the largest number in it.
        kind: of number, in words.

    Attributes:
        seen: str, what it holds; the error adds what to do where data are read.
        ends: str, `(low, high)`.
    """

    def __init__(self, name: PathLike, low: float, high: float, kind: str) -> None:
        self.seen = f"{name}: holds {low:g}–{high:g} in {kind}"
        self.ends = f"({low:g}, {high:g})"
        example = f", for instance value_range={self.ends}" if low < high else ""
        super().__init__(
            f"{self.seen}, pictures 0–255 in 8 bits; say what is black and what is white by value_range="
            f"{example}, or bring it to 0–255 and save it as PNG"
        )


def first_line(error: Exception) -> str:
    """Return what an error says, in one line."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
