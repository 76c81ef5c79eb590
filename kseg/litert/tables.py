"""FlatBuffers whose tables are read and written by the numbers of their fields, for schemas without code.

Reference: flatbuffers.dev, "FlatBuffer Internals".
"""

import flatbuffers
import numpy as np
from flatbuffers.number_types import Uint8Flags, Uint32Flags
from flatbuffers.table import Table


class Builder(flatbuffers.Builder):
    """Builder that puts vectors of bytes at multiples of 16.

    The schemas of `.tflite` files and their metadata ask for it; Python code made from them leaves it out.
    """

    def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802 - its name in FlatBuffers
        if x.dtype == np.uint8:
            self.Prep(16, x.nbytes)
        return super().CreateNumpyVector(x)


def buffer_of(root: dict, identifier: bytes) -> bytes:
    """Return a FlatBuffer of nested values.

    Args:
        root: slot → value. A value is a dict (a table), a list of dicts or floats (a vector), a str, bytes,
            an int (4 bytes) or a `np.uint8`: a small enumeration, the kind of a union.
        identifier: 4 bytes.
    """
    builder = Builder()
    builder.Finish(_put(builder, root), identifier)
    return bytes(builder.Output())


def _put(builder, value):
    """Append a value that others refer to; return where it is."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, bytes):
        return builder.CreateNumpyVector(np.frombuffer(value, "uint8"))
    if isinstance(value, dict):
        return _put_table(builder, value)
    if isinstance(value[0], float):
        return builder.CreateNumpyVector(np.array(value, "float32"))
    places = [_put(builder, each) for each in value]
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):
        builder.PrependUOffsetTRelative(place)
    return builder.EndVector()


def _put_table(builder, fields):
    numbers = {slot: value for slot, value in fields.items() if isinstance(value, int | np.uint8)}
    places = {slot: _put(builder, value) for slot, value in fields.items() if slot not in numbers}
    builder.StartObject(max(fields) + 1)
    for slot, place in places.items():
        builder.PrependUOffsetTRelativeSlot(slot, place, 0)
    for slot, number in numbers.items():
        kind = Uint8Flags if isinstance(number, np.uint8) else Uint32Flags
        builder.PrependSlot(kind, slot, int(number), 0)
    return builder.EndObject()


def root_of(content: bytes, identifier: bytes) -> Table:
    """Return the root of a FlatBuffer.

    Raises:
        ValueError: if it has another identifier.
    """
    if not flatbuffers.util.BufferHasIdentifier(content, 0, identifier):
        raise ValueError(f"no FlatBuffer {identifier.decode()}")
    return Table(content, Table(content, 0).Indirect(0))


def number_at(table: Table, slot: int, kind: type) -> int:
    """Return a number of a kind of `flatbuffers.number_types`, 0 if the field is missing."""
    return table.GetSlot(_field(slot), 0, kind)


def numbers_at(table: Table, slot: int, kind: type) -> np.ndarray:
    """Return the numbers of a vector, none if the field is missing."""
    offset = table.Offset(_field(slot))
    return table.GetVectorAsNumpy(kind, offset) if offset else np.zeros(0)


def bytes_at(table: Table, slot: int) -> bytes:
    """Return a vector of bytes."""
    return numbers_at(table, slot, Uint8Flags).tobytes()


def text_at(table: Table, slot: int) -> str:
    """Return a string; unlike `Table.String`, none that reaches beyond the end."""
    return bytes_at(table, slot).decode()


def table_at(table: Table, slot: int) -> Table | None:
    """Return a table, `None` if the field is missing."""
    offset = table.Offset(_field(slot))
    return Table(table.Bytes, table.Indirect(table.Pos + offset)) if offset else None


def tables_at(table: Table, slot: int) -> list:
    """Return the tables of a vector."""
    offset = table.Offset(_field(slot))
    if not offset:
        return []
    start = table.Vector(offset)
    return [Table(table.Bytes, table.Indirect(start + 4 * n)) for n in range(table.VectorLen(offset))]


def _field(slot):
    return 4 + 2 * slot  # where a table's own table says it lies, behind two sizes
