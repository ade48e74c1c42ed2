"""The life of a term on one machine: a lock on a file, which the kernel frees when the process ends, however it ends.

Locks are ``flock``'s: they belong to an open file, not to a process, so two hosts in one process see each other as alive.
A forked child closes its copies, or it would keep its parent's terms alive.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from uuid import UUID

_held: dict[tuple[Path, UUID], int] = {}
"""Descriptors of the terms that this process lives."""


def _forget() -> None:
    while _held:
        os.close(_held.popitem()[1])


os.register_at_fork(after_in_child=_forget)


def _path(directory: Path, term: UUID) -> Path:
    return directory / f"{term.hex}.term"


def hold(directory: Path, term: UUID) -> None:
    """Begin to live: nobody can find the term dead from now on. Raises ``OSError``."""
    while True:
        directory.mkdir(exist_ok=True)
        try:
            descriptor = os.open(_path(directory, term), os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666)
            break
        except FileNotFoundError:
            continue  # the last term that lived there has just taken the directory with it
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    _held[directory, term] = descriptor


def release(directory: Path, term: UUID) -> None:
    """Stop living, if it was this process that held the lock. Idempotent."""
    descriptor = _held.pop((directory, term), None)
    if descriptor is not None:
        os.close(descriptor)


def remove(directory: Path, term: UUID) -> None:
    """Remove the file of a term that has been buried, and the directory with the last one."""
    release(directory, term)
    _path(directory, term).unlink(missing_ok=True)
    try:
        directory.rmdir()
    except OSError:
        # Other terms live there; or one is just moving in, and makes the directory again.
        return


def alive(directory: Path, term: UUID) -> bool:
    """Whether somebody holds the term's lock. No file: a copied database, whose terms live elsewhere if at all."""
    try:
        descriptor = os.open(_path(directory, term), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True
    try:
        # Shared, so that two who look do not take each other for the living.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
