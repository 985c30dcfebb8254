"""A service in plain Python that says what a test wants, well or badly formed, over TLS."""

from __future__ import annotations

import select
import socket
import ssl
import time
from pathlib import Path

from authority import Identity

CONNECT, PUBLISH, PUBACK, SUBSCRIBE, PINGREQ = 0x10, 0x30, 0x40, 0x80, 0xC0
CONNACK = bytes([0x20, 2, 0, 0])


def length(count: int) -> bytes:
    """The remaining length of MQTT."""
    out = b""
    while True:
        count, digit = divmod(count, 128)
        out += bytes([digit | 0x80 if count else digit])
        if not count:
            return out


class Service:
    """Listens; one connection after the other."""

    def __init__(self, folder: Path, server: Identity, receive_buffer: int | None = None) -> None:
        folder.mkdir()
        server.write(folder, "server")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(folder / "server.crt", folder / "server.key")
        self.socket = socket.socket()
        if receive_buffer:
            # Before it listens, so that the window is small from the beginning.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen()
        self.socket.settimeout(60)
        self.port = self.socket.getsockname()[1]

    def accept(self) -> Connection:
        plain, _ = self.socket.accept()
        plain.settimeout(60)
        return Connection(plain, self.context.wrap_socket(plain, server_side=True))

    def close(self) -> None:
        self.socket.close()


class Connection:
    """What the device sends is answered as a good service does, until the test says something itself."""

    def __init__(self, plain: socket.socket, tls: ssl.SSLSocket) -> None:
        self.plain, self.tls = plain, tls
        self.subscribe = b""
        self.topics: list[str] = []
        self.acknowledged: list[int] = []

    def send(self, data: bytes) -> None:
        self.tls.sendall(data)

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            got = self.tls.recv(count - len(data))
            if not got:
                raise ConnectionError("the device has closed the connection")
            data += got
        return data

    def receive(self) -> tuple[int, bytes]:
        """The next packet: its type and its body. Messages are acknowledged, pings answered."""
        (first,) = self._read(1)
        count = shift = 0
        while True:
            (digit,) = self._read(1)
            count, shift = count | (digit & 0x7F) << shift, shift + 7
            if digit < 0x80:
                break
        kind, body = first & 0xF0, self._read(count)
        if kind == PUBLISH:
            at = 2 + int.from_bytes(body[:2], "big")
            self.send(bytes([PUBACK, 2]) + body[at : at + 2])
        elif kind == PUBACK:
            self.acknowledged.append(int.from_bytes(body, "big"))
        elif kind == PINGREQ:
            self.send(b"\xd0\0")
        elif kind == SUBSCRIBE:
            self.subscribe, self.topics = body[:2], []
            at = 2
            while at < len(body):
                end = at + 2 + int.from_bytes(body[at : at + 2], "big")
                self.topics.append(body[at + 2 : end].decode())
                at = end + 1
        return kind, body

    def expect(self, wanted: int) -> bytes:
        while True:
            kind, body = self.receive()
            if kind == wanted:
                return body

    def serve_until(self, done, timeout: float = 60) -> None:
        """Answers the device until `done` says so."""
        deadline = time.monotonic() + timeout
        while not done():
            assert time.monotonic() < deadline, "it does not come to that"
            if self.tls.pending() or select.select([self.tls], [], [], 0.1)[0]:
                self.receive()

    def accept_subscriptions(self) -> None:
        self.expect(SUBSCRIBE)
        self.send(bytes([0x90]) + length(2 + len(self.topics)) + self.subscribe + bytes([1] * len(self.topics)))

    def publish(self, topic: bytes, payload: bytes, number: int | None = None) -> None:
        body = len(topic).to_bytes(2, "big") + topic + (b"" if number is None else number.to_bytes(2, "big")) + payload
        self.send(bytes([0x30 if number is None else 0x32]) + length(len(body)) + body)

    def close(self) -> None:
        self.tls.close()
