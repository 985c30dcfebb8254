"""A small MQTT 3.1.1 client that publishes: over TLS, QoS 1, one message after the other."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

CONNACK, PUBACK = 0x20, 0x40


def field(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


class Publisher:
    """The service's program for firmware, with a certificate of its own."""

    def __init__(self, port: int, folder: Path, name: str) -> None:
        context = ssl.create_default_context(cafile=str(folder / "roots.crt"))
        context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
        plain = socket.create_connection(("localhost", port), 10)
        self.socket = context.wrap_socket(plain, server_hostname="localhost")
        self.id = 0
        # Clean session, no keep-alive.
        self._send(0x10, field(b"MQTT") + bytes([4, 2, 0, 0]) + field(name.encode()))
        kind, answer = self._receive()
        assert (kind, answer[1]) == (CONNACK, 0), f"the broker refuses the publisher: {kind:#x} {answer!r}"

    def publish(self, topic: str, payload: bytes, retain: bool = True) -> None:
        """An empty payload takes away what is retained."""
        self.id = self.id % 65_535 + 1
        number = self.id.to_bytes(2, "big")
        self._send(0x32 | retain, field(topic.encode()) + number + payload)
        assert self._receive() == (PUBACK, number)

    def _send(self, kind: int, body: bytes) -> None:
        length, rest = b"", len(body)
        while True:
            rest, digit = divmod(rest, 128)[0], rest % 128
            length += bytes([digit | 0x80 if rest else digit])
            if not rest:
                break
        self.socket.sendall(bytes([kind]) + length + body)

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            got = self.socket.recv(count - len(data))
            assert got, "the broker has closed the publisher's connection"
            data += got
        return data

    def _receive(self) -> tuple[int, bytes]:
        kind, length = self._read(2)
        return kind, self._read(length)

    def close(self) -> None:
        self.socket.close()
