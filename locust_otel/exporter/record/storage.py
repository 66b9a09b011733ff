"""The file of a run record: lines in, gzip on disk.

The file gets a name that no other file has, and is created again if it is removed. Bytes that could not be written wait
for the next attempt. A restarted exporter needs `Stored` to continue the file.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from locust_otel.wire.record import SUFFIX

_LEVEL = 6
_COPIED_AT_ONCE = 1 << 18  # bytes

# https://www.rfc-editor.org/rfc/rfc1952. Not made by zlib, since another process may have to end a member.
_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\x03"
_LAST_BLOCK = b"\x03\0"
_TRAILER = struct.Struct("<II")


@dataclass(slots=True)
class Stored:
    """State of the file."""

    path: str = ""  # empty before the file is created
    offset: int = 0  # bytes on disk
    pending: bytes = b""  # bytes to write next
    crc: int = 0  # checksum of the content of the open gzip member
    size: int = 0  # bytes of that content; 0 if no member is open


class RecordFile:
    """Appends lines to a file whose name begins with the run id.

    This process or an earlier one has begun the file. The lock is held while `stored` changes.
    """

    def __init__(
        self, folder: Path, run_id: str, stored: Stored, lock: AbstractContextManager[object] | None = None
    ) -> None:
        self.stored = stored
        self._folder = folder
        self._run_id = run_id
        self._lock = lock if lock is not None else nullcontext()
        self._file = -1
        self._compressor = zlib.compressobj(_LEVEL, wbits=-zlib.MAX_WBITS)

    def resume(self) -> bool:
        """Continue the file of a process that has died; return False if it is missing or too short.

        Raises:
            OSError: The file exists, but cannot be opened.
        """
        stored = self.stored
        if stored.path:
            try:
                self._file = os.open(stored.path, os.O_RDWR | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError):
                return False
            if os.fstat(self._file).st_size < stored.offset:
                self.close()
                return False
            os.ftruncate(self._file, stored.offset)
        self.end_member()
        return True

    def add(self, lines: str) -> None:
        """Add lines to write next."""
        data = lines.encode()
        with self._lock:
            stored = self.stored
            if not stored.size:
                stored.pending += _HEADER
            stored.pending += self._compressor.compress(data) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
            stored.crc = zlib.crc32(data, stored.crc)
            stored.size += len(data)

    def end_member(self) -> None:
        """End the open gzip member, if there is one; the next lines begin another."""
        with self._lock:
            stored = self.stored
            if stored.size:
                stored.pending += _LAST_BLOCK + _TRAILER.pack(stored.crc, stored.size % 2**32)
                stored.crc = stored.size = 0
                self._compressor = zlib.compressobj(_LEVEL, wbits=-zlib.MAX_WBITS)

    def write(self) -> None:
        """Write all pending bytes.

        Raises:
            OSError: Some of them could not be written.
        """
        stored = self.stored
        if not stored.path:
            self._file, stored.path = self._created()
        elif not _is_at(self._file, stored.path):
            self._restore()
        while stored.pending:
            count = os.pwrite(self._file, stored.pending, stored.offset)
            with self._lock:
                stored.offset += count
                stored.pending = stored.pending[count:]

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _restore(self) -> None:
        """Create the removed file again; the open descriptor still has its content."""
        file, path = self._created()
        try:
            at = 0
            while chunk := os.pread(self._file, _COPIED_AT_ONCE, at):
                at += os.write(file, chunk)
        except OSError:
            os.close(file)
            Path(path).unlink(missing_ok=True)
            raise
        os.close(self._file)
        self._file, self.stored.path = file, path

    def _created(self) -> tuple[int, str]:
        """Create a file with a name that no other file has; return its descriptor and path."""
        self._folder.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            path = self._folder / f"{self._run_id}{f'.{number}' if number > 1 else ''}{SUFFIX}"
            try:
                return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), str(path)
            except FileExistsError:
                number += 1


def _is_at(file: int, path: str) -> bool:
    """Return whether an open file still has this path."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except OSError as error:
        return error.errno not in {errno.ENOENT, errno.ENOTDIR}  # other errors do not stop writing
