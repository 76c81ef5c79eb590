"""What an export tells: about the file, and how it compares with the Keras model."""

import json
from dataclasses import asdict, dataclass, field


@dataclass
class ExportReport:
    """What was written and how it compares with the Keras model.

    Attributes:
        path: str.
        format: `"SavedModel"`, `"ONNX"`, or `"LiteRT float32"`, `"LiteRT int8"` and so on.
        output_kind: `"logits"`, `"probabilities"` or `"classes"`.
        size_bytes: int, all files together.
        pictures: int, how many pictures were compared; `generated` tells whether they were made up.
        largest_difference: float, between scores of the two; `None` where the file gives ids.
        score_range: float, largest minus smallest score of the Keras model.
        same_class: float, share of pixels that get the same class from both.
        latency_ms: float, median time of one picture on this CPU.
        keras_miou, file_miou: float, or `None` without masks.
        sha256: str, of a LiteRT or ONNX file.
        operators: dict, name → count (LiteRT only, as the following).
        not_on_xnnpack: dict, name → count of the operators that run outside of XNNPACK, the CPU's fast path.
        not_on_gpu: list of str, what TensorFlow says of operators that the GPU delegate cannot take.
        arena_bytes: int, the most that activations need at a time.
        worst_layers: dict, layer → its error in steps of its scale, the five largest (int8 only).
        float_layers: list of the layers kept in float, told or because LiteRT lacks them (int8, int16x8).
        skipped_passes: list of str, what makes files faster and could not read this one, with the reason.
        value_range: `[low, high]`, what the files of its pictures hold for black and white, each a number
            or a list of one per channel; `None` for 0–255.
    """

    path: str
    format: str
    output_kind: str
    size_bytes: int
    pictures: int
    generated: bool
    largest_difference: float | None
    score_range: float
    same_class: float
    latency_ms: float
    keras_miou: float | None = None
    file_miou: float | None = None
    sha256: str | None = None
    operators: dict[str, int] = field(default_factory=dict)
    not_on_xnnpack: dict[str, int] = field(default_factory=dict)
    not_on_gpu: list[str] = field(default_factory=list)
    arena_bytes: int | None = None
    worst_layers: dict[str, float] = field(default_factory=dict)
    float_layers: list[str] = field(default_factory=list)
    skipped_passes: list[str] = field(default_factory=list)
    value_range: list | None = None

    @property
    def gives(self) -> str:
        """The older name of `output_kind`."""
        return self.output_kind

    def as_json(self) -> str:
        """Return the report as JSON text."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def __str__(self) -> str:
        what = "generated pictures" if self.generated else "pictures"
        differs = ""
        if self.largest_difference is not None:
            differs = (
                f", largest difference {self.largest_difference:.3g} of a range of {self.score_range:.3g}"
            )
        lines = [
            f"{self.path}: {self.format}, {self.size_bytes / 1e6:.2f} MB, {self.latency_ms:.1f} ms a picture",
            f"  compared on {self.pictures} {what}: same class on {100 * self.same_class:.3f} % of pixels"
            + differs,
        ]
        if self.value_range is not None:
            bits = ", in 8 bits" if "int8" in self.format else ""
            lines.append(
                f"  picture files hold {self.value_range} for black and white; this file takes 0–255{bits}"
            )
        if self.keras_miou is not None:
            lines.append(f"  mean IoU {self.file_miou:.4f}, Keras {self.keras_miou:.4f}")
        if self.sha256 and not self.operators:
            lines.append(f"  sha256 {self.sha256}")
        if self.operators:
            lines.append(f"  operators: {_counts(self.operators)}")
            lines.append(f"  outside of XNNPACK: {_counts(self.not_on_xnnpack) or 'none'}")
            lines.append(f"  outside of the GPU delegate: {'; '.join(self.not_on_gpu) or 'none'}")
            lines.append(
                f"  activations: {(self.arena_bytes or 0) / 1e6:.2f} MB at a time; sha256 {self.sha256}"
            )
        if self.worst_layers:
            worst = ", ".join(f"{name} {error:.2f}" for name, error in self.worst_layers.items())
            lines.append(f"  largest errors of int8, in steps of the layer's scale: {worst}")
        if self.float_layers:
            lines.append(f"  kept in float: {', '.join(self.float_layers)}")
        if self.skipped_passes:
            lines.append(f"  not made faster by: {'; '.join(self.skipped_passes)}")
        return "\n".join(lines)


def _counts(operators):
    return ", ".join(f"{name} {count}" for name, count in sorted(operators.items()))
