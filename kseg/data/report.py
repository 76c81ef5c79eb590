"""What the data check found."""

from dataclasses import asdict, dataclass, field

import numpy as np

_SHOWN = 20


@dataclass
class CheckReport:
    """What `check` found.

    Attributes:
        class_names: list of str.
        pairs: dict, split → number of pairs.
        pixels: dict, split → int64 `(num_classes,)` pixels of each class.
        void: dict, split → number of void pixels.
        problems: list of str, each beginning with the file or folder.
        warnings: list of str, of what can be trained on and may not be meant.
        notes: list of str, the layout that was found, and what was passed over.
        suggestions: list of str, arguments that fit these data.
        sizes: dict, `(H, W)` → number of pictures.
        value_range: `(lowest, highest)` pixel value of the pictures, or `None` without any.
    """

    class_names: list[str]
    pairs: dict[str, int] = field(default_factory=dict)
    pixels: dict[str, np.ndarray] = field(default_factory=dict)
    void: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    suggestions: list[str] = field(default_factory=list)
    sizes: dict[tuple[int, int], int] = field(default_factory=dict)
    value_range: tuple[float, float] | None = None

    def __str__(self) -> str:
        lines = [", ".join(f"{split}: {count} pairs" for split, count in self.pairs.items())]
        width = max(map(len, [*self.class_names, "void"]))
        lines.append(" " * width + "".join(f"{split:>10}" for split in self.pixels))
        for index, name in enumerate([*self.class_names, "void"]):
            shares = []
            for split, pixels in self.pixels.items():
                seen = self.void[split] if name == "void" and index == len(pixels) else pixels[index]
                shares.append(f"{100 * seen / max(pixels.sum() + self.void[split], 1):9.2f}%")
            lines.append(f"{name:{width}}" + "".join(shares))
        lines += self._pictures()
        lines += _shortened(self.notes, "notes")
        lines += _shortened(self.problems, "problems")
        lines += _shortened([f"warning: {line}" for line in self.warnings], "warnings")
        lines += [f"suggestion: {line}" for line in self.suggestions]
        return "\n".join(lines)

    def _pictures(self):
        if self.value_range is None:
            return []
        sizes = [f"{w}×{h}" for h, w in sorted(self.sizes, key=lambda size: -self.sizes[size])]
        shown = ", ".join(sizes[:3]) + (f" and {len(sizes) - 3} more sizes" if len(sizes) > 3 else "")
        return [f"pictures: {shown} (width×height), values {self.value_range[0]:g}–{self.value_range[1]:g}"]

    def as_dict(self) -> dict:
        """Return what was found as JSON can hold it."""
        return {
            **asdict(self),
            "pixels": {split: pixels.tolist() for split, pixels in self.pixels.items()},
            "sizes": [{"height": h, "width": w, "pictures": n} for (h, w), n in self.sizes.items()],
        }

    def raise_for_problems(self) -> None:
        """Raise `ValueError` with the first problem and the number of others, if there are any."""
        if self.problems:
            others = f" (and {len(self.problems) - 1} more problems)" if len(self.problems) > 1 else ""
            raise ValueError(self.problems[0] + others)


def printable(line: str) -> str:
    """Return a line with escapes for what is no character, such as line breaks in names of files."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)


def _shortened(lines, what):
    more = [f"... and {len(lines) - _SHOWN} more {what}"] if len(lines) > _SHOWN else []
    return lines[:_SHOWN] + more
