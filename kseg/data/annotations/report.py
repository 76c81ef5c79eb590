"""What a conversion did: a table of the classes, what was left out, what is wrong."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

_SHOWN = 20


@dataclass
class ConversionReport:
    """What `convert` did, or would do.

    Attributes:
        class_names: list of str.
        pictures: dict, split → number of pictures.
        objects: dict, label → number of objects.
        pixels: dict, split → int64 `(num_classes,)` pixels of each class.
        void: dict, split → number of void pixels.
        notes: dict, what was passed over or settled → how often.
        problems: list of str, each beginning with the file; a dry run lists them.
    """

    class_names: list[str]
    pictures: dict[str, int] = field(default_factory=dict)
    objects: Counter[str] = field(default_factory=Counter)
    pixels: dict[str, np.ndarray] = field(default_factory=dict)
    void: dict[str, int] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def add(self, split: str, counts: np.ndarray) -> None:
        """Add a picture by the pixels of each id, `(256,)`."""
        self.pictures[split] = self.pictures.get(split, 0) + 1
        self.pixels[split] = self.pixels.get(split, 0) + counts[: len(self.class_names)]
        self.void[split] = self.void.get(split, 0) + int(counts[len(self.class_names) :].sum())

    def __str__(self) -> str:
        splits = sorted(self.pictures)
        lines = [", ".join(f"{split}: {self.pictures[split]} pictures" for split in splits)]
        width = max(map(len, [*self.class_names, "void"]))
        lines.append(" " * (width + 5) + "objects" + "".join(f"{split:>10}" for split in splits))
        rows = [(f"{number:3} {name:{width}}", name) for number, name in enumerate(self.class_names)]
        for number, (shown, name) in enumerate([*rows, (f"255 {'void':{width}}", None)]):
            text = shown + f"{self.objects[name] if name is not None else '':>8}"
            for split in splits:
                seen = self.void[split] if name is None else self.pixels[split][number]
                total = self.pixels[split].sum() + self.void[split]
                text += f"{100 * seen / max(total, 1):9.2f}%"
            lines.append(text)
        lines += [f"{count} {text}" for text, count in sorted(self.notes.items())]
        lines += self.problems[:_SHOWN]
        if len(self.problems) > _SHOWN:
            lines.append(f"... and {len(self.problems) - _SHOWN} more problems")
        return "\n".join(lines)

    def raise_for_problems(self) -> None:
        """Raise `ValueError` with the first problem and the number of others, if there are any."""
        if self.problems:
            others = len(self.problems) - 1
            more = f" (and {others} more problems; a dry run lists them: dry_run=True)" if others else ""
            raise ValueError(self.problems[0] + more)
