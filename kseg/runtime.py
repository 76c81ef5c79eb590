"""Files run without Keras: `.tflite` by LiteRT, `.onnx` by ONNX Runtime, SavedModel folders by TensorFlow."""

import os
import threading
import time
from typing import Any

import numpy as np

_OUTPUTS = ("logits", "probabilities", "classes")
_opened: dict[str, Any] = {}


class LiteRTFile:
    """A `.tflite` segmenter.

    Attributes:
        input_size: `(H, W)`; channels: int.
        output_kind: `"logits"`, `"probabilities"` or `"classes"`, the name of its output; `None` if it has
            another, as in files that kseg did not write.
        num_classes: int, `None` where it gives ids.
        seconds: float, of the last run of the interpreter alone.

    Raises:
        ValueError: if LiteRT cannot load it, or it is no segmenter.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int | None = None) -> None:
        # its own package: the interpreter inside TensorFlow is being removed
        from ai_edge_litert.interpreter import Interpreter

        try:
            self.interpreter = Interpreter(str(path), num_threads=threads or os.cpu_count())
            self.interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{path}: LiteRT cannot load this file ({reason}); export it again") from error
        inputs, outputs = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        signatures = self.interpreter.get_signature_list()
        names = next(iter(signatures.values()))["outputs"] if signatures else [""]
        integers = [each["dtype"] in (np.int32, np.int64) and not each["quantization"][0] for each in outputs]
        shapes = [[tuple(each["shape"].tolist()) for each in details] for details in (inputs, outputs)]
        ids = _check_segmenter(path, shapes[0], shapes[1], all(integers))
        self.output_kind = names[0] if names[0] in _OUTPUTS else "classes" if ids else None
        (self.input,), (self.output,) = inputs, outputs
        _, height, width, self.channels = self.input["shape"].tolist()
        self.input_size = (height, width)
        self.num_classes = None if self.output_kind == "classes" else int(self.output["shape"][-1])
        self.seconds = 0.0
        self.lock = threading.Lock()  # an interpreter has one set of buffers

    def run(self, images: np.ndarray) -> np.ndarray:
        """Run float32 pictures `(B, H, W, C)`; return float32 scores, or int32 ids `(B, H, W)`."""
        return np.concatenate([self._run_one(image[None]) for image in images])

    def _run_one(self, image):
        with self.lock:
            self.interpreter.set_tensor(self.input["index"], quantized(image, self.input))
            start = time.perf_counter()
            self.interpreter.invoke()
            self.seconds = time.perf_counter() - start
            values = self.interpreter.get_tensor(self.output["index"])
        return values if self.output_kind == "classes" else dequantized(values, self.output)


def _check_segmenter(path: Any, inputs: list, outputs: list, integers: bool) -> bool:
    """Tell whether a file gives ids; what is open in a shape is no int.

    Raises:
        ValueError: unless one picture goes in, channels last, and one map of scores or ids comes out.
    """
    ranks = [len(shape) for shape in (*inputs, *outputs)]
    ids = integers and (ranks == [4, 3] or (ranks == [4, 4] and outputs[0][3] == 1))
    if ranks != [4, 4] and not ids:
        shown = " and ".join(", ".join(map(str, shapes)) or "nothing" for shapes in (inputs, outputs))
        raise ValueError(
            f"{path}: expected one (B, H, W, C) in and one (B, H, W, classes) out, got {shown}; is it "
            "a segmenter?"
        )
    (taken,), (given,) = inputs, outputs
    first = taken[1] in (1, 3, 4) and taken[3] not in (1, 3, 4)
    first |= not ids and given[2:] == taken[1:3] != given[1:3] and isinstance(given[1], int)
    if first:
        raise ValueError(f"{path}: channels come first, {taken} in and {given} out; expected (B, H, W, C)")
    if not isinstance(taken[3], int) or not (ids or isinstance(given[3], int)):
        raise ValueError(
            f"{path}: the channels are not known, {taken} in and {given} out; export it with them"
        )
    return ids


class SavedModelFolder:
    """A SavedModel segmenter; attributes as of `LiteRTFile`, `input_size` `None` where it takes any.

    Raises:
        ValueError: if TensorFlow cannot load it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        import tensorflow as tf

        try:
            self.loaded = tf.saved_model.load(str(path))
            self.signature = self.loaded.signatures["serving_default"]
        except (KeyError, OSError, ValueError, tf.errors.OpError) as error:
            raise ValueError(
                f"{path}: TensorFlow cannot load this SavedModel: {error}".splitlines()[0]
            ) from error
        specs, given = self.signature.structured_input_signature[1], self.signature.structured_outputs
        shapes = [[tuple(_sides(each)) for each in found.values()] for found in (specs, given)]
        ids = _check_segmenter(
            path, shapes[0], shapes[1], all(each.dtype.is_integer for each in given.values())
        )
        ((self.name, spec),), ((self.output_name, scores),) = specs.items(), given.items()
        self.output_kind = self.output_name if self.output_name in _OUTPUTS else "classes" if ids else None
        self.dtype = spec.dtype
        size = tuple(spec.shape[1:3])
        self.input_size = None if None in size else size
        self.channels = spec.shape[-1]
        self.num_classes = None if self.output_kind == "classes" else scores.shape[-1]
        self.seconds = 0.0

    def run(self, images: np.ndarray) -> np.ndarray:
        """Run float32 pictures `(B, H, W, C)`; return float32 scores."""
        import tensorflow as tf

        start = time.perf_counter()
        pictures = tf.cast(images, self.dtype)
        scores = self.signature(**{self.name: pictures})[self.output_name].numpy()
        self.seconds = time.perf_counter() - start
        return scores


def _sides(tensor):
    """Return the sides of a tensor of TensorFlow's, `None` where they are open, none of an unknown rank."""
    return [] if tensor.shape.rank is None else tensor.shape.as_list()


class OnnxFile:
    """An `.onnx` segmenter; attributes as of `SavedModelFolder`.

    Raises:
        ImportError: without ONNX Runtime.
        ValueError: if that cannot load it, or it is no segmenter.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise ImportError(f"{path}: ONNX Runtime runs this file: pip install 'kseg[onnx]'") from None

        self.path = path
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or os.cpu_count()
        options.log_severity_level = 4  # what goes wrong comes as an error
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its classes have no common one of their own
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"{path}: ONNX Runtime cannot load this file ({reason}); export it again"
            ) from error
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        shapes = [[tuple(each.shape) for each in found] for found in (inputs, outputs)]
        ids = _check_segmenter(path, shapes[0], shapes[1], all("int" in each.type for each in outputs))
        batch, height, width, channels = inputs[0].shape  # an open side has a name or None
        if inputs[0].type != "tensor(float)" or (isinstance(batch, int) and batch != 1):
            raise ValueError(
                f"{path}: takes {inputs[0].type} {inputs[0].shape}, expected float pictures (B, H, W, C), B "
                "open or 1"
            )
        self.one_by_one = batch == 1
        size = (height, width)
        self.input_size = size if all(isinstance(side, int) for side in size) else None
        self.name, self.channels, self.sides = inputs[0].name, channels, size
        self.output_name = outputs[0].name
        self.output_kind = self.output_name if self.output_name in _OUTPUTS else "classes" if ids else None
        self.num_classes = None if ids else outputs[0].shape[-1]
        self.told = self.session.get_modelmeta().custom_metadata_map
        self.seconds = 0.0

    def run(self, images: np.ndarray) -> np.ndarray:
        """Run float32 pictures `(B, H, W, C)`; return float32 scores."""
        start = time.perf_counter()
        try:
            parts = [image[None] for image in images] if self.one_by_one else [images]
            scores = np.concatenate([self.session.run(None, {self.name: part})[0] for part in parts])
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{self.path}: ONNX Runtime cannot run this file ({reason})") from error
        self.seconds = time.perf_counter() - start
        return scores


def opened(
    path: str | os.PathLike[str], threads: int | None = None
) -> LiteRTFile | OnnxFile | SavedModelFolder:
    """Return the object that runs a file, by what its path says it is."""
    if os.path.isdir(path):  # noqa: PTH112
        return SavedModelFolder(path)
    return (OnnxFile if str(path).endswith(".onnx") else LiteRTFile)(path, threads)


def quantized(values: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    """Return values as the tensor of an interpreter takes them."""
    if detail["dtype"] == np.float32:
        return values.astype("float32")
    scale, zero_point = detail["quantization"]
    limits = np.iinfo(detail["dtype"])
    scale = scale or 1.0  # integers without a scale are values as they are
    return np.clip(np.round(values / scale + zero_point), limits.min, limits.max).astype(detail["dtype"])


def dequantized(values: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    """Return a tensor of an interpreter as float32."""
    if detail["dtype"] == np.float32:
        return values
    scale, zero_point = detail["quantization"]
    scale = scale or 1.0
    return (values.astype("float32") - zero_point) * np.float32(scale)


def run_encoded(path: str, encoded: bytes | list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Return what an opened SavedModel gives for the bytes of picture files, one or rows: `(scores, ids)`."""
    import tensorflow as tf

    found = _opened[path].loaded.signatures["encoded"](encoded=tf.constant(encoded))
    ids = found.pop("classes").numpy()
    return next(iter(found.values())).numpy(), ids


def try_out(path: str) -> None:
    """Load a `.tflite` or `.onnx` file and run it on a black picture: what would crash, crashes here."""
    file = opened(path)
    size = file.sides if isinstance(file, OnnxFile) else file.input_size or (None, None)
    sides = [side if isinstance(side, int) else 64 for side in size]
    file.run(np.zeros((1, *sides, file.channels), "float32"))


def open_file(
    path: str, threads: int | None = None
) -> tuple[tuple[int, int] | None, int, str | None, int | None]:
    """Open a file for `run_file`; return its input size, channels, what it gives and how many classes."""
    close_file(path)
    _opened[str(path)] = file = opened(path, threads)
    return file.input_size, file.channels, file.output_kind, file.num_classes


def run_file(path: str, images: np.ndarray) -> tuple[np.ndarray, float]:
    """Return what an opened file gives for pictures, and the seconds it took."""
    file = _opened[str(path)]
    return file.run(images), file.seconds


def close_file(path: str) -> None:
    """Forget an opened file."""
    _opened.pop(str(path), None)


def resident_bytes() -> int:
    """Return the memory of this process, in bytes, as the system counts it."""
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def resident_growth(path: str, images: np.ndarray) -> int:
    """Return by how many bytes this process grows when it opens a file and runs it."""
    if os.path.isdir(path):  # noqa: PTH112
        import tensorflow  # noqa: F401 - no part of what the file needs
    elif str(path).endswith(".onnx"):
        import onnxruntime  # noqa: F401
    else:
        import ai_edge_litert.interpreter  # noqa: F401

    before = resident_bytes()
    opened(path).run(images)
    return resident_bytes() - before
