"""Files that cannot be read as pictures: what the system says of them, and what they are instead."""

from pathlib import Path

from PIL import Image, UnidentifiedImageError

from kseg.data import tiff
from kseg.data.file_errors import first_line
from kseg.disk import read_patiently
from kseg.types import PathLike

_BRANDS = {
    b"heic": "HEIC",
    b"heix": "HEIC",
    b"mif1": "HEIC",
    b"msf1": "HEIC",
    b"avif": "AVIF",
    b"avis": "AVIF",
}
_BEGINNINGS = {
    b"%PDF": "PDF",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "HDF5",
    b"MATLAB": "MATLAB",
    b"8BPS": "Photoshop",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
}
_SHOWN = 32  # bytes of a text


def content_of(path: PathLike) -> bytes:
    """Return the bytes of a file; raise, naming it, where it is gone or cannot be read."""
    try:
        return read_patiently(Path(path).read_bytes)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except OSError as error:
        raise unopened(path, error) from error


def unopened(path: PathLike, error: OSError) -> ValueError:
    """Return the error that the system does not open or read a file."""
    if Path(path).is_dir():
        return ValueError(f"{path}: is a folder, not a picture")
    return ValueError(f"{path}: cannot be read ({error.strerror}); make it readable or remove it")


def unreadable(path: Path, error: Exception) -> ValueError:
    """Return the error that a file is no picture, with what it is instead."""
    if path.stat().st_size == 0:
        return ValueError(f"{path}: the file is empty (0 bytes); restore or remove it")
    if _begins_as_picture(path):
        return ValueError(
            f"{path}: the file is cut short or damaged ({first_line(error)}); restore or remove it"
        )
    tags = tiff.tiff_tags(path)
    if tags and isinstance(error, UnidentifiedImageError):
        problem = tiff.band_problem(tags) or f"{tiff.described(tags)}; save it in 8 bits or as PNG"
        return ValueError(f"{path}: {problem}")
    return ValueError(f"{path}: cannot be read as a picture ({what_it_is(path)}); use JPEG or PNG")


def _begins_as_picture(path):
    with path.open("rb") as file:
        start = file.read(12)
    return start.startswith((b"\xff\xd8\xff", b"\x89PNG")) or start[:4] + start[8:] == b"RIFFWEBP"


def is_whole(path: Path, picture_format: str, formats: tuple[str, ...]) -> bool:
    """Tell whether the picture has its end; where much follows it, as a phone's film, decode to find out."""
    marker = b"\xff\xd9" if picture_format == "JPEG" else b"IEND"
    with Path(path).open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 4096))  # cameras append a few bytes
        if marker in file.read():
            return True
    try:
        with Image.open(path, formats=formats) as image:
            image.load()
    except (OSError, ValueError, SyntaxError):
        return False
    return True


def what_it_is(path: Path) -> str:
    """Return what a file that is no picture of a known format seems to be, by its first bytes."""
    with path.open("rb") as file:
        start = file.read(512)
    if start[4:8] == b"ftyp":
        return f"it is {_BRANDS.get(start[8:12], 'a film or a picture of ISO media')}"
    for beginning, name in _BEGINNINGS.items():
        if start.startswith(beginning):
            return f"it is {name}"
    text = _text(start)
    if text is None:
        return f"it begins with the bytes {start[:8].hex(' ')}"
    hint = ", as failed downloads are; fetch it anew" if _is_no_download(text) else ""
    return f"it is text and begins with {text[:_SHOWN]!r}{hint}"


def _text(start):
    """Return the beginning of a text without blanks in front, `None` where the bytes are none."""
    if not start.strip() or any(byte < 32 and byte not in b"\t\n\r\f" for byte in start):
        return None
    lines = start.decode("utf-8", "ignore").lstrip("\ufeff").split()
    return " ".join(lines)


def _is_no_download(text):
    """Tell whether a text is what servers and Git send in the place of a file."""
    beginnings = ("<!doctype", "<html", "<?xml", "{", "version https://git-lfs")
    return text.lower().startswith(beginnings)
