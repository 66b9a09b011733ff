"""The file of a run record: made under a name that nobody has, and made again where somebody has removed it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from locust_otel.wire.record import SUFFIX

_COPIED_AT_ONCE = 1 << 18


class RecordFile:
    """Takes bytes to append, and keeps those that could not be written.

    Args:
        folder: Where the file is made; a file that is there is left alone, and ours gets another name.
        run_id: What its name begins with.

    Attributes:
        path: The file; None before it could be made.
    """

    def __init__(self, folder: Path, run_id: str) -> None:
        self.path: Path | None = None
        self._folder = folder
        self._run_id = run_id
        self._file = -1
        self._pending = b""

    @property
    def is_behind(self) -> bool:
        """Whether something is not written yet."""
        return bool(self._pending)

    def add(self, data: bytes) -> None:
        """Add what is to be written next."""
        self._pending += data

    def write(self) -> None:
        """Write what is not written yet.

        Raises:
            OSError: Some of it could not be.
        """
        if self.path is None:
            self._file, self.path = self._created()
        elif not _is_at(self._file, self.path):
            self._rescue()
        while self._pending:
            written = os.write(self._file, self._pending)
            self._pending = self._pending[written:]

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _rescue(self) -> None:
        """Make the file again that somebody has removed; what was in it can still be read through the open one."""
        file, path = self._created()
        try:
            at = 0
            while chunk := os.pread(self._file, _COPIED_AT_ONCE, at):
                at += os.write(file, chunk)
        except OSError:
            os.close(file)
            path.unlink(missing_ok=True)
            raise
        os.close(self._file)
        self._file, self.path = file, path

    def _created(self) -> tuple[int, Path]:
        """Create a file of a name that no file has, and return both."""
        self._folder.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            path = self._folder / f"{self._run_id}{f'.{number}' if number > 1 else ''}{SUFFIX}"
            try:
                return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), path
            except FileExistsError:
                number += 1


def _is_at(file: int, path: Path) -> bool:
    """Return whether a path still leads to an open file."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except OSError as error:
        return error.errno not in {errno.ENOENT, errno.ENOTDIR}  # what cannot be told is no reason to stop writing
