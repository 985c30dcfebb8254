"""A factory of its own for tests: the frames, the messages and the signed documents once more, from docs/protocol.md."""

from __future__ import annotations

import binascii
import hashlib
import os
import select
import termios
import time
import tty
from dataclasses import dataclass
from pathlib import Path

from authority import FAR_AHEAD, Authority
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
POWERS = ("firmware", "configuration", "anchors", "factory")


@dataclass(frozen=True)
class Tagged:
    """A value with a tag of CBOR before it."""

    tag: int
    value: object


def cbor(value) -> bytes:
    """Deterministic CBOR (RFC 8949) of numbers, bytes, text, lists and maps with numbers as keys, in order."""

    def head(major: int, argument: int) -> bytes:
        for size, code in ((1, 24), (2, 25), (4, 26), (8, 27)):
            if argument < 24:
                return bytes([major << 5 | argument])
            if argument < 1 << 8 * size:
                return bytes([major << 5 | code]) + argument.to_bytes(size, "big")
        raise ValueError(argument)

    if value is None:
        return b"\xf6"
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, Tagged):
        return head(6, value.tag) + cbor(value.value)
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(cbor, value))
    if isinstance(value, dict):
        return head(5, len(value)) + b"".join(cbor(key) + cbor(item) for key, item in value.items())
    raise TypeError(type(value))


def read_cbor(data: bytes, at: int = 0):
    """The value at `at`, and where it ends."""
    major, code = data[at] >> 5, data[at] & 31
    at += 1
    if code >= 24 and major < 7:
        size = {24: 1, 25: 2, 26: 4, 27: 8}[code]
        code, at = int.from_bytes(data[at : at + size], "big"), at + size
    if major in (2, 3):
        end = at + code
        return (data[at:end] if major == 2 else data[at:end].decode()), end
    if major == 4:
        items = []
        for _ in range(code):
            item, at = read_cbor(data, at)
            items.append(item)
        return items, at
    if major == 5:
        table = {}
        for _ in range(code):
            key, at = read_cbor(data, at)
            table[key], at = read_cbor(data, at)
        return table, at
    if major == 6:
        item, at = read_cbor(data, at)
        return Tagged(code, item), at
    simple = {20: False, 21: True, 22: None}
    return (code if major == 0 else -1 - code if major == 1 else simple[code]), at


def frame(message: bytes) -> bytes:
    """00 COBS(message, CRC-32) 00."""
    data = message + binascii.crc32(message).to_bytes(4, "little")
    out = b""
    for part in data.split(b"\0"):
        while len(part) >= 254:
            out, part = out + b"\xff" + part[:254], part[254:]
        out += bytes([len(part) + 1]) + part
    return b"\0" + out + b"\0"


def unframe(data: bytes) -> bytes | None:
    """The message of what stood between two zeros; None where it is no frame."""
    out, at = b"", 0
    while at < len(data):
        length = data[at]
        out += data[at + 1 : at + length]
        at += length
        if length < 255 and at < len(data):
            out += b"\0"
    message, check = out[:-4], out[-4:]
    whole = at == len(data) and message and binascii.crc32(message).to_bytes(4, "little") == check
    return message if whole else None


def point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def key_id(key: ec.EllipticCurvePublicKey) -> bytes:
    """COSE key thumbprint, RFC 9679."""
    raw = point(key)
    return hashlib.sha256(cbor({1: 2, -1: 1, -2: raw[1:33], -3: raw[33:]})).digest()


def cose_sign1(key: ec.EllipticCurvePrivateKey, header: dict, payload: bytes, detached: bool = False) -> Tagged:
    """COSE_Sign1 (RFC 9052) with ES256 and s in the lower half."""
    protected = cbor({1: -7} | header | {4: key_id(key.public_key())})
    digest = hashlib.sha256(cbor(["Signature1", protected, b"", payload])).digest()
    r, s = decode_dss_signature(key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))
    signature = r.to_bytes(32, "big") + min(s, ORDER - s).to_bytes(32, "big")
    return Tagged(18, [protected, {}, None if detached else payload, signature])


def sign(key: ec.EllipticCurvePrivateKey, content_type: str, payload: bytes) -> bytes:
    """A signed document."""
    return cbor(cose_sign1(key, {3: content_type}, payload))


class Line:
    """One end of the pty that the firmware has for its factory."""

    def __init__(self, path: str) -> None:
        self.file = os.open(path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self.file, termios.TCSANOW)
        self.buffer = b""

    def send(self, message: list) -> None:
        os.write(self.file, frame(cbor(message)))

    def receive(self, timeout: float = 20) -> list:
        deadline = time.monotonic() + timeout
        while True:
            while b"\0" in self.buffer:
                part, _, self.buffer = self.buffer.partition(b"\0")
                if part and (message := unframe(part)) is not None:
                    return read_cbor(message)[0]
            left = deadline - time.monotonic()
            assert left > 0, "the device does not answer its factory"
            if select.select([self.file], [], [], left)[0]:
                self.buffer += os.read(self.file, 4096)

    def ask(self, message: list) -> list:
        self.send(message)
        return self.receive()

    def deliver(self, document: bytes) -> list:
        """A signed document in parts; the device's answer to it."""
        for start in range(0, len(document), 256):
            number, taken = self.ask([4, {1: start, 2: document[start : start + 256]}])
            assert number == 3, taken
        return self.ask([5, {1: len(document)}])

    def close(self) -> None:
        os.close(self.file)


class Factory:
    """The keys of the four powers, and what is done with the factory's."""

    def __init__(self, folder: Path) -> None:
        self.keys = {power: ec.generate_private_key(ec.SECP256R1()) for power in POWERS}
        self.public_file = folder / "factory.pub"
        self.public_file.write_bytes(
            self.keys["factory"].public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )

    def signed(self, power: str, kind: str, document: dict) -> bytes:
        """A document of this kind, signed with the key of `power`."""
        return sign(self.keys[power], f"application/vnd.sensor.{kind}+cbor", cbor(document))

    def provision(
        self, line: Line, device: str, group: str, configuration: bytes, clients: Authority, roots: list[Authority], end=FAR_AHEAD
    ) -> ec.EllipticCurvePublicKey:
        """Provisions the blank device on `line`; gives its identity key."""
        number, identity = line.ask([1, {1: 1}])
        assert (number, identity[2]) == (1, 1), f"the device is not blank: {identity}"
        assert identity[6] == key_id(self.keys["factory"].public_key())
        number, requests = line.ask([2, {1: device}])
        assert number == 2, requests
        own, tls = (x509.load_der_x509_csr(requests[which]) for which in (2, 3))
        assert own.is_signature_valid and tls.is_signature_valid
        document = self.signed("factory", "provision", {
            1: [1, device], 2: requests[1], 3: group, 4: key_id(own.public_key()),
            5: [clients.client_of(tls, end).public_bytes(serialization.Encoding.DER)],
            6: [root.identity.certificate_der() for root in roots],
            **{at: point(self.keys[power].public_key()) for at, power in ((7, POWERS[0]), (8, POWERS[1]), (9, POWERS[2]))},
            10: configuration,
        })
        number, done = line.deliver(document)
        assert (number, done[1]) == (4, key_id(own.public_key())), done
        return own.public_key()
