"""Proof that a process is dead, where the operating system can give it.

A lease only says that a process was silent for a while. On the same machine more can be known: the same boot and the same
PID namespace (containers share the first, not the second), and the process id with its start time gone. Whatever cannot
be seen counts as alive.
"""

from __future__ import annotations

import os
import socket
from importlib import metadata
from pathlib import Path

from .stores.protocol import TermInfo


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _namespace(kind: str) -> str:
    try:
        return str(Path(f"/proc/self/ns/{kind}").readlink())
    except OSError:
        return ""


def _stat(pid: int) -> tuple[str, str]:
    """State letter and start time (clock ticks since boot) of a process, or two empty strings."""
    text = _read(f"/proc/{pid}/stat")
    # The command, in parentheses, may hold anything, spaces and parentheses included.
    rest = text.rpartition(")")[2].split()
    return (rest[0], rest[19]) if len(rest) > 19 else ("", "")


def this_process(region: str = "") -> TermInfo:
    """What others need to know of this process."""
    try:
        version = metadata.version("jido-objects")
    except metadata.PackageNotFoundError:
        version = ""
    return TermInfo(
        boot_id=_read("/proc/sys/kernel/random/boot_id"),
        pid_namespace=_namespace("pid"),
        network_namespace=_namespace("net"),
        pid=os.getpid(),
        pid_started=_stat(os.getpid())[1],
        hostname=socket.gethostname(),
        region=region,
        code_version=version,
    )


def proven_dead(info: TermInfo) -> bool:
    """Whether the process of that term is certainly gone."""
    if not (info.boot_id and info.pid_namespace and info.pid and info.pid_started):
        return False
    if info.boot_id != _read("/proc/sys/kernel/random/boot_id") or info.pid_namespace != _namespace("pid"):
        return False
    if info.pid == os.getpid():
        return info.pid_started != _stat(info.pid)[1]
    try:
        # Not /proc alone: mounted with hidepid it hides the living.
        os.kill(info.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    state, started = _stat(info.pid)
    if started and started != info.pid_started:
        return True
    return state in ("Z", "X") and _threads(info.pid) <= 1


def _threads(pid: int) -> int:
    """Threads of a process: one whose main thread has ended shows as a zombie while others may still write."""
    try:
        return sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return 2
