"""What a preparation has checked so far, kept on the disk: after a stop or a fault the rest is checked, not all."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from deeplab_load.data.pairs import CheckedPair
from deeplab_load.errors import UserError

COMMIT_EVERY = 64


class Journal:
    """Checked pairs by the digest of what was checked; at most the last `COMMIT_EVERY` are lost by a kill.

    Raises:
        UserError: the file is damaged, here and in `get`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = sqlite3.connect(path)
        self._fresh = 0
        try:
            with self._told():
                self._database.execute(
                    'CREATE TABLE IF NOT EXISTS checked (digest TEXT PRIMARY KEY, height, width, label_map, pixels)'
                )
        except Exception:
            self._database.close()
            raise

    def __enter__(self) -> 'Journal':
        return self

    def __exit__(self, *of_error: object) -> None:
        """Writes what is not written yet."""
        try:
            with self._told():
                self._database.commit()
        finally:
            self._database.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError:
            raise
        except (sqlite3.DatabaseError, ValueError, TypeError, IndexError) as error:
            raise UserError(f'{self._path} is damaged: delete it, and what it lists is checked again.') from error

    def get(self, digest: str) -> CheckedPair | None:
        """The checked pair of this digest, if there is one."""
        with self._told():
            row = self._database.execute(
                'SELECT height, width, label_map, pixels FROM checked WHERE digest = ?', (digest,)
            ).fetchone()
            if row is None:
                return None
            pixels = np.zeros(256, np.int64)
            for label, count in json.loads(row[3]):
                pixels[label] = count
            return CheckedPair((int(row[0]), int(row[1])), bytes(row[2]), pixels)

    def add(self, digest: str, checked: CheckedPair) -> None:
        """Keeps a checked pair."""
        pixels = json.dumps([(int(label), int(checked.pixels[label])) for label in np.flatnonzero(checked.pixels)])
        row = (digest, *checked.size, checked.label_map, pixels)
        self._database.execute('INSERT OR REPLACE INTO checked VALUES (?, ?, ?, ?, ?)', row)
        self._fresh += 1
        if self._fresh % COMMIT_EVERY == 0:
            self._database.commit()

    def delete(self) -> None:
        """Removes the journal: what it helped to prepare is whole."""
        self._path.unlink()
