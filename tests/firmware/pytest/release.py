"""A release of its own for tests: image, manifest, blocks and rollout once more, from docs/protocol.md, docs/manifest.md and the
RFCs; the image by MCUboot's imgtool."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from factory import Factory, Tagged, cbor, cose_sign1
from mqtt import Publisher

BLOCK_BYTES = 2048
VENDOR_DOMAIN = "sensor.example"
NATIVE_SIM = "secure-sensor native_sim/native/64"
VENDOR = uuid.uuid5(uuid.NAMESPACE_DNS, VENDOR_DOMAIN)


def class_id(name: str) -> uuid.UUID:
    return uuid.uuid5(VENDOR, name)


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


class ImageKey:
    """What images are signed with."""

    def __init__(self, folder: Path, name: str = "image") -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ))
        self.public_file = folder / f"{name}.pub"
        self.public_file.write_bytes(key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ))


def sign_image(
    folder: Path, key: Path, body: bytes, version: str, device_class: str = NATIVE_SIM, header: int = 512,
    slot: int = 0x69000, pad_header: bool = True,
) -> bytes:
    """imgtool's image of `body`."""
    base = os.environ.get("ZEPHYR_BASE")
    assert base, "ZEPHYR_BASE is not set: run this in a Zephyr workspace"
    imgtool = Path(base).parent / "bootloader/mcuboot/scripts/imgtool.py"
    plain, signed = folder / "body.bin", folder / f"image-{version}.bin"
    plain.write_bytes(body)
    subprocess.run(
        [
            sys.executable, imgtool, "sign", "--key", key, "--version", version, "--align", "4", "--header-size",
            str(header), "--slot-size", str(slot), "--vid", VENDOR_DOMAIN, "--cid", device_class,
            *(["--pad-header"] if pad_header else []), plain, signed,
        ],
        check=True, capture_output=True, text=True,
    )
    return signed.read_bytes()


def tree_hash(blocks: list[bytes]) -> bytes:
    """RFC 9162, section 2.1.1."""
    if len(blocks) == 1:
        return sha256(b"\0", blocks[0])
    half = 1 << (len(blocks) - 1).bit_length() - 1
    return sha256(b"\1", tree_hash(blocks[:half]), tree_hash(blocks[half:]))


def inclusion_proof(index: int, blocks: list[bytes]) -> bytes:
    """RFC 9162, section 2.1.3.1."""
    if len(blocks) == 1:
        return b""
    half = 1 << (len(blocks) - 1).bit_length() - 1
    if index < half:
        return inclusion_proof(index, blocks[:half]) + tree_hash(blocks[half:])
    return inclusion_proof(index - half, blocks[half:]) + tree_hash(blocks[:half])


@dataclass(frozen=True)
class Release:
    """What a manifest says, and the payload."""

    image: bytes
    version: tuple[int, int, int]
    sequence: int = 1
    vendor: uuid.UUID = VENDOR
    device_class: str = NATIVE_SIM
    # What the manifest promises, where that is something else than the image.
    digest: bytes | None = None
    size: int | None = None
    # Who signs; the factory's firmware authority where nobody else does.
    signer: ec.EllipticCurvePrivateKey | None = None

    def but(self, **changes) -> Release:
        return replace(self, **changes)

    @property
    def blocks(self) -> list[bytes]:
        return [self.image[at : at + BLOCK_BYTES] for at in range(0, len(self.image), BLOCK_BYTES)]

    @property
    def uri(self) -> str:
        return f"firmware/{tree_hash(self.blocks).hex()}/{len(self.image)}"

    def block_topic(self, index: int) -> str:
        return f"{self.uri}/{index}"

    def block(self, index: int) -> bytes:
        return inclusion_proof(index, self.blocks) + self.blocks[index]

    def image_digest(self) -> bytes:
        return self.digest or sha256(self.image)

    def manifest(self) -> bytes:
        """The SUIT_Manifest, as it stands in the envelope."""
        digest = cbor([-16, self.image_digest()])
        image = {
            1: self.vendor.bytes, 2: class_id(self.device_class).bytes, 3: digest, 14: self.size or len(self.image)
        }
        return cbor({
            1: 1,
            2: self.sequence,
            # Parameters; vendor and class are compared.
            3: cbor({2: [[b"\0"]], 4: cbor([20, image, 1, 15, 2, 15])}),
            6: cbor(list(self.version)),
            7: cbor([3, 15]),
            9: cbor([23, 2]),
            # From where; fetched and compared.
            20: cbor([20, {21: self.uri}, 21, 2, 3, 15]),
        })

    def manifest_digest(self) -> bytes:
        return sha256(cbor(self.manifest()))

    def envelope(self, factory: Factory) -> bytes:
        digest = cbor([-16, self.manifest_digest()])
        block = cose_sign1(self.signer or factory.keys["firmware"], {}, digest, detached=True)
        return cbor(Tagged(107, {2: cbor([digest, cbor(block)]), 3: self.manifest()}))

    def rollout(self, factory: Factory, number: int, share: int = 1000) -> bytes:
        return factory.signed(
            "configuration", "rollout", {1: [3], 2: number, 3: self.manifest_digest(), 4: share}
        )


class Service:
    """The service's side of updates: what is retained at the broker."""

    def __init__(self, publisher: Publisher, factory: Factory, device_class: str = NATIVE_SIM) -> None:
        self.publisher = publisher
        self.factory = factory
        self.device_class = device_class
        self.number = 0

    def publish_blocks(self, release: Release, leave_out: tuple[int, ...] = ()) -> None:
        for index in range(len(release.blocks)):
            if index not in leave_out:
                self.publisher.publish(release.block_topic(index), release.block(index))

    def publish_block(self, release: Release, index: int, message: bytes) -> None:
        self.publisher.publish(release.block_topic(index), message)

    def announce(self, release: Release, envelope: bytes | None = None) -> None:
        """To the devices of the service's class, whatever the manifest says. The rollout first."""
        self.number += 1
        root = f"firmware/{class_id(self.device_class)}"
        self.publisher.publish(f"{root}/rollout", release.rollout(self.factory, self.number))
        self.publisher.publish(f"{root}/manifest", envelope or release.envelope(self.factory))
