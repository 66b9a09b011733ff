"""What a successor of this process goes on with: two files in memory, of which one is always whole.

They are written in turn, so a process that is killed while it writes one leaves the other.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence

_HEAD = struct.Struct(">QQI")  # number, length, checksum


class Checkpoint:
    """Writes and reads checkpoints.

    Args:
        files: Two open files that outlive this process.
    """

    def __init__(self, files: Sequence[int]) -> None:
        self._files = files
        self._number = 0

    def read(self) -> bytes | None:
        """Return the last that was written whole; None where there is none."""
        found = [(number, data) for number, data in map(_read, self._files) if data is not None]
        self._number, data = max(found, default=(0, None))
        return data

    def write(self, data: bytes) -> None:
        """Write one, in the place of the one before the last."""
        self._number += 1
        file = self._files[self._number % len(self._files)]
        os.pwrite(file, bytes(_HEAD.size), 0)  # no checkpoint, until it is whole
        view, at = memoryview(data), _HEAD.size
        while view:
            written = os.pwrite(file, view, at)
            view, at = view[written:], at + written
        os.ftruncate(file, at)
        os.pwrite(file, _HEAD.pack(self._number, len(data), zlib.crc32(data)), 0)


def _read(file: int) -> tuple[int, bytes | None]:
    head = os.pread(file, _HEAD.size, 0)
    if len(head) < _HEAD.size:
        return 0, None
    number, length, checksum = _HEAD.unpack(head)
    if length != os.fstat(file).st_size - _HEAD.size:
        return number, None
    data = b""
    while len(data) < length and (chunk := os.pread(file, length - len(data), _HEAD.size + len(data))):
        data += chunk
    is_whole = number > 0 and len(data) == length and zlib.crc32(data) == checksum
    return number, data if is_whole else None
