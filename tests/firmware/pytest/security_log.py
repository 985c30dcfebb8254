"""A device's security log as its operator gets it, verified once more from docs/protocol.md and docs/security-log.md: the
signature of each piece, and the chain through all of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from factory import Tagged, cbor, key_id, read_cbor

FIRST = bytes(32)
# The events' numbers.
BOOT, PROVISIONED, CONFIGURED, COMMANDED, LOST = 1, 2, 12, 14, 30


@dataclass(frozen=True)
class Record:
    """One line, its hash, and what happened: its number and its details."""

    sequence: int
    boot: int
    event: int
    details: list
    hash: bytes


def read_signed(document: bytes, key: ec.EllipticCurvePublicKey, content_type: str) -> bytes:
    """The payload of a COSE_Sign1 of this key."""
    item, end = read_cbor(document)
    assert end == len(document) and isinstance(item, Tagged) and item.tag == 18
    protected, unprotected, payload, signature = item.value
    assert unprotected == {}
    assert protected == cbor({1: -7, 3: f"application/vnd.sensor.{content_type}+cbor", 4: key_id(key)})
    digest = hashlib.sha256(cbor(["Signature1", protected, b"", payload])).digest()
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    key.verify(encode_dss_signature(r, s), digest, ec.ECDSA(Prehashed(hashes.SHA256())))
    return payload


def read_pieces(pieces: list[bytes], device: str, key: ec.EllipticCurvePublicKey) -> list[Record]:
    """Every record of the pieces, in order and each once; each is bound to the one before it, and so is each piece to the
    one before it where that is there."""
    records: dict[int, Record] = {}
    hashes_of: dict[int, bytes] = {-1: FIRST}
    for piece in pieces:
        content, _ = read_cbor(read_signed(piece, key, "log"))
        assert content[1] == [1, device]
        number, previous, entries = content[2], content[3], content[4]
        assert hashes_of.setdefault(number - 1, previous) == previous, f"the piece from record {number} on does not fit"
        at = 0
        while at < len(entries):
            data, at = read_cbor(entries, at)
            given, at = read_cbor(entries, at)
            assert given == hashlib.sha256(previous + data).digest(), f"record {number} is not bound to the one before"
            (sequence, boot, _, _, (event, details)), _ = read_cbor(data)
            assert sequence == number
            record = Record(sequence, boot, event, details, given)
            assert records.setdefault(number, record) == record, f"record {number} came twice and differs"
            hashes_of[number] = given
            previous, number = given, number + 1
    return [records[number] for number in sorted(records)]


def missing(records: list[Record]) -> set[int]:
    """The numbers, from the very first record on, that are not there."""
    return set(range(records[-1].sequence)) - {record.sequence for record in records}
