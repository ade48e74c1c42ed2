"""HTTP/1.1 on a kept-alive connection: little enough to send thousands of requests a second beside the server."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from typing import Any
from urllib.parse import urlsplit


class NoAnswer(Exception):
    """No complete answer came. The request may have been executed or not."""


def loopback(url: str) -> tuple[str, int]:
    """Host address and port of an ``http`` URL on this machine; raises ``ValueError`` for any other."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"{url} is not an http:// address.")
    port = parts.port or 80
    addresses = {info[4][0] for info in socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)}
    if not all(ipaddress.ip_address(address).is_loopback for address in addresses):
        raise ValueError(f"{parts.hostname} is not this machine: the storm only goes to loopback addresses such as 127.0.0.1.")
    return parts.hostname, port


class Connection:
    """One connection, opened when it is needed and again after it broke. Seconds."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self._host, self._port, self._timeout = host, port, timeout
        self._authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> tuple[int, Any]:
        return await self._request(f"GET {path} HTTP/1.1\r\nHost: {self._authority}\r\n\r\n".encode())

    async def post(self, path: str, data: object) -> tuple[int, Any]:
        body = json.dumps(data).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: {self._authority}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        return await self._request(head.encode() + body)

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
            self._streams = None

    async def _request(self, request: bytes) -> tuple[int, Any]:
        try:
            async with asyncio.timeout(self._timeout):
                if self._streams is None:
                    self._streams = await asyncio.open_connection(self._host, self._port)
                reader, writer = self._streams
                writer.write(request)
                return await self._answer(reader)
        except (OSError, EOFError, TimeoutError, ValueError, asyncio.LimitOverrunError) as error:
            self.close()
            raise NoAnswer(f"{type(error).__name__}: {error}") from error
        except BaseException:
            self.close()
            raise

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, Any]:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split()[1])
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        if "content-length" in headers:
            body = await reader.readexactly(int(headers["content-length"]))
        else:
            body = await reader.read()
            self.close()
        if headers.get("connection", "").lower() == "close":
            self.close()
        return status, json.loads(body) if headers.get("content-type", "").startswith("application/json") else body
