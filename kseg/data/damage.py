"""Damage inside JPEG and PNG files, which decoders repair with other pixels, or do not look for."""

import re
import struct
import zlib
from collections.abc import Iterator

_DAMAGE = re.compile("Corrupt JPEG data|Premature end|Inconsistent progression")
_PADDING = re.compile(r"\b[1-8] extraneous bytes before marker 0xd9")  # some cameras append zeros
_SHORT, _LONG = 64, 512  # zero bytes that no sound scan holds; those that a repeated texture may
_TABLES, _SCAN, _END = 0xC4, 0xDA, 0xD9
_PNG = b"\x89PNG\r\n\x1a\n"
_HEAD = b"\0\0\0\x0dIHDR"
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by the colour types of PNG
_PIECE = 2**14  # unpacks to 17 MB at most
# of an interlaced PNG: left, top, and the steps across and down
_PASSES = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
_PLAIN = (0x01, *range(0xD0, 0xD9))  # markers without content: restarts, the beginning


def damage_in(content: bytes, cmyk: bool = False) -> str | None:
    """Return what is wrong inside a JPEG or PNG, `None` where nothing is found and for other files.

    Args:
        content: the file.
        cmyk: whether a JPEG holds CMYK.
    """
    if content[:3] == b"\xff\xd8\xff":
        return jpeg_damage(content, "CMYK" if cmyk else "GRAY")
    return png_damage(content) if content[:8] == _PNG else None


def png_damage(content: bytes) -> str | None:
    """Return what is wrong inside a PNG: Pillow reads no checksums, and fills up rows that are missing."""
    place, pixels = len(_PNG), []
    while place + 12 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, place)
        end = place + 8 + size
        if end + 4 > len(content):
            break
        needed = kind[:1].isupper()  # what a decoder may not leave out
        if needed and zlib.crc32(content[place + 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
            return f"the checksum of {kind.decode('latin-1')!r} at byte {place} differs"
        if kind == b"IDAT":
            pixels.append(memoryview(content)[place + 8 : end])
        if kind == b"IEND":
            return _pixel_damage(content, pixels)
        place = end + 4
    return "its end is missing"


def _pixel_damage(content, parts):
    """Return what is wrong with the compressed rows of a PNG; what is behind them, no decoder asks for."""
    if content[8:16] != _HEAD:
        return "its header is missing"
    header = struct.unpack_from(">IIBBxxB", content, len(_PNG) + 8)
    expected, found, stream = _png_bytes(*header), 0, zlib.decompressobj()
    if expected is None:
        return None
    try:
        for part in parts:
            for start in range(0, len(part), _PIECE):
                found += len(stream.decompress(part[start : start + _PIECE]))
                if found > expected:
                    return None
    except zlib.error as error:
        return f"its pixels cannot be unpacked: {error}"
    if found < expected:
        return f"{found} of {expected} bytes of pixels are there"
    return None if stream.eof else "the checksum of its pixels is missing"


def _png_bytes(width, height, bits, colour, interlaced):
    """Return how many bytes the rows have, each after that of its filter; `None` for no colour of PNG."""
    samples, total = _SAMPLES.get(colour), 0
    if samples is None:
        return None
    for left, top, across, down in _PASSES if interlaced else [(0, 0, 1, 1)]:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0:  # a pass without pixels has no filters
            total += max(0, rows) * (1 + -(-columns * bits * samples // 8))
    return total


def jpeg_damage(content: bytes, color_space: str = "GRAY") -> str | None:
    """Return what is wrong inside a JPEG, `None` where nothing is found.

    The decoder of libjpeg-turbo is asked whether it had to repair anything: it does where bytes are missing
    or others stand in their place, unless a few of them happen to mean as many blocks as were there. So
    zeros are looked for as well: as codes they would mean a block of equal coefficients, again and again.

    Args:
        content: the file.
        color_space: `"GRAY"`, for CMYK pictures `"CMYK"`.
    """
    import simplejpeg

    for scan, length in _scans_without_zeros(content):
        if bytes(length) in scan and not (length == _LONG and _is_texture(scan)):
            return f"{length} zero bytes or more stand in its pixels"
    smallest = {"min_height": 1, "min_width": 1, "min_factor": 8}  # all codes are read, few pixels are made
    try:
        simplejpeg.decode_jpeg(content, color_space, strict=True, **smallest)
    except ValueError as error:
        text = str(error)
        if _DAMAGE.search(text) and not _PADDING.search(text):
            return text
    return None


def _scans_without_zeros(content: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the codes of those scans in which a sound encoder writes no long run of zeros, and how long is.

    The code of zeros alone is the first of its table. Where that means "no more coefficients", a plain
    surface is all zeros; so are corrections of coefficients, and scans of the blocks' means. A progressive
    scan holds a band of coefficients: where the first code, again and again, fills it to its end, a texture
    of equal blocks may be zeros.
    """
    first_codes: dict[int, int] = {}
    for marker, place, segment in _segments(content):
        if marker == _TABLES:
            _read_tables(segment, first_codes)
        elif marker == _SCAN and len(segment) >= 4 + 2 * segment[0]:
            count = segment[0]
            codes = [first_codes.get(table & 15, 0) for table in segment[2 : 1 + 2 * count : 2]]
            first, last, earlier_bits = (
                segment[1 + 2 * count],
                segment[2 + 2 * count],
                segment[3 + 2 * count] >> 4,
            )
            if last > 0 and earlier_bits == 0 and any(code & 15 for code in codes):
                # the upper bits of a code are the coefficients passed over before its own
                fills = first > 0 and any((last - first + 1) % ((code >> 4) + 1) == 0 for code in codes)
                yield content[place : _end_of_codes(content, place)], _LONG if fills else _SHORT


def _is_texture(scan):
    """Tell whether what stands between the zeros repeats itself too: the codes of a photograph do not."""
    rest = scan.replace(bytes(_SHORT), b"")
    return len(zlib.compress(rest)) <= _SHORT + len(rest) // 2


def _segments(content):
    """Yield `(marker, where its content ends, content)` of each segment up to the end of the picture."""
    place = 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker == _END:
            return
        if marker == 0xFF or marker in _PLAIN:
            place += 1 if marker == 0xFF else 2
            continue
        (size,) = struct.unpack_from(">H", content, place + 2)
        end = place + 2 + size
        yield marker, end, content[place + 4 : end]
        place = _end_of_codes(content, end) if marker == _SCAN else end


def _end_of_codes(content, place):
    """Return where the marker after a scan begins; in codes 0xFF is followed by 0 or a restart."""
    found = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]").search(content, place)
    return found.start() if found else len(content)


def _read_tables(segment, first_codes):
    """Note what the code of zeros alone means in each table of coefficients."""
    place = 0
    while place + 17 < len(segment):
        kind, counts = segment[place], segment[place + 1 : place + 17]
        if kind >> 4:  # else a table of blocks' means
            first_codes[kind & 15] = segment[place + 17]
        place += 17 + sum(counts)
