"""The part of FlatBuffers that metadata of `.tflite` files needs: read tables, write tables.

Reference: flatbuffers.dev, "FlatBuffer Binary Format". Offsets are unsigned and point forward, so what is
written in front of a buffer can refer to anything inside it.
"""

import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class Byte:
    """A field of one byte: a bool, a small enumeration, the type of a union."""

    value: int


@dataclass(frozen=True)
class Existing:
    """Something that stands in the buffer behind what is written, at this position of it."""

    position: int


class Table:
    """A table that is read.

    Args:
        buffer: bytes of the whole file.
        position: int, where the table begins.
    """

    def __init__(self, buffer, position):
        self.buffer = buffer
        self.position = position
        self.vtable = position - self._number("<i", position)
        self.slots = (self._number("<H", self.vtable) - 4) // 2

    @classmethod
    def root(cls, buffer, identifier):
        """Return the root of a buffer.

        Raises:
            ValueError: if it has another identifier.
        """
        if len(buffer) < 8 or bytes(buffer[4:8]) != identifier:
            raise ValueError(f"no FlatBuffer {identifier.decode()}")
        return cls(buffer, struct.unpack_from("<I", buffer)[0])

    def number(self, slot, kind="<I", default=0):
        """Return a scalar; `kind` is as for `struct`."""
        place = self._place(slot)
        return default if place is None else self._number(kind, place)

    def target(self, slot):
        """Return where a table, string or vector begins, `None` if the field is missing."""
        place = self._place(slot)
        return None if place is None else place + self._number("<I", place)

    def table(self, slot):
        """Return a table, or `None`."""
        target = self.target(slot)
        return None if target is None else Table(self.buffer, target)

    def tables(self, slot):
        """Return the tables of a vector."""
        return [Table(self.buffer, place) for place in self.targets(slot)]

    def targets(self, slot):
        """Return where the elements of a vector of tables begin."""
        start, length = self._vector(slot)
        places = range(start, start + 4 * length, 4)
        return [place + self._number("<I", place) for place in places]

    def numbers(self, slot, kind):
        """Return the scalars of a vector; `kind` is a letter of `struct`."""
        start, length = self._vector(slot)
        return list(struct.unpack_from(f"<{length}{kind}", self.buffer, start))

    def content(self, slot):
        """Return a vector of bytes."""
        start, length = self._vector(slot)
        return bytes(self.buffer[start : start + length])

    def text(self, slot):
        """Return a string."""
        return self.content(slot).decode()

    def _vector(self, slot):
        target = self.target(slot)
        if target is None:
            return 0, 0
        length = self._number("<I", target)
        if target + 4 + length > len(self.buffer):
            raise ValueError("a vector reaches beyond the end of the file")
        return target + 4, length

    def _place(self, slot):
        offset = self._number("<H", self.vtable + 4 + 2 * slot) if slot < self.slots else 0
        return self.position + offset if offset else None

    def _number(self, kind, place):
        return struct.unpack_from(kind, self.buffer, place)[0]


def written(root, identifier, in_front_of=b""):
    """Return a buffer with the table `root`, followed by the one that its `Existing` fields mean.

    Args:
        root: dict, slot → value. A value is an int (4 bytes), a `Byte`, a str, bytes, a list of floats, a
            dict (a table), an `Existing`, or a list of these two.
        identifier: 4 bytes.
        in_front_of: bytes.
    """
    out, later = bytearray(8), []
    out[4:8] = identifier
    _point(out, 0, _put(out, root, later))
    out += bytes(-len(out) % 16)  # the alignment of weights
    for place, position in later:
        _point(out, place, len(out) + position)
    return bytes(out) + bytes(in_front_of)


def _put(out, value, later):
    """Append a value and what it points to; return where it begins."""
    if isinstance(value, dict):
        return _put_table(out, value, later)
    if isinstance(value, str):
        return _put_bytes(out, value.encode() + b"\0", len(value.encode()))
    if isinstance(value, bytes):
        out += bytes((12 - len(out)) % 16)  # the length, then the content at a multiple of 16
        return _put_bytes(out, value, len(value))
    out += bytes(-len(out) % 4)
    start = len(out)
    out += struct.pack("<I", len(value))
    if value and isinstance(value[0], float):
        out += struct.pack(f"<{len(value)}f", *value)
        return start
    out += bytes(4 * len(value))
    for number, element in enumerate(value):
        _refer(out, start + 4 + 4 * number, element, later)
    return start


def _put_bytes(out, content, length):
    out += bytes(-len(out) % 4)
    start = len(out)
    out += struct.pack("<I", length) + content
    return start


def _put_table(out, fields, later):
    fields = {slot: value for slot, value in fields.items() if value is not None}
    wide = [slot for slot, value in fields.items() if not isinstance(value, Byte)]
    places = {slot: 4 + 4 * number for number, slot in enumerate(wide)}
    for slot in fields:
        places.setdefault(slot, 4 + 4 * len(wide) + len(places) - len(wide))
    size = 4 + 4 * len(wide) + len(fields) - len(wide)
    slots = [places.get(slot, 0) for slot in range(max(fields, default=-1) + 1)]
    vtable = struct.pack(f"<{2 + len(slots)}H", 4 + 2 * len(slots), size, *slots)
    out += bytes(-(len(out) + len(vtable)) % 4)
    out += vtable
    start = len(out)
    out += struct.pack("<i", len(vtable)) + bytes(size - 4)
    for slot, value in fields.items():
        place = start + places[slot]
        if isinstance(value, Byte):
            out[place] = value.value
        elif isinstance(value, int):
            struct.pack_into("<I", out, place, value)
        else:
            _refer(out, place, value, later)
    return start


def _refer(out, place, value, later):
    if isinstance(value, Existing):
        later.append((place, value.position))
    else:
        _point(out, place, _put(out, value, later))


def _point(out, place, target):
    struct.pack_into("<I", out, place, target - place)
