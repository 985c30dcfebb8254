"""Updates on native_sim: the real firmware downloads into slot 1 of its flash file, and judges what it gets. There is no
bootloader there: what happens after the mark is for the virtual board (tests/board). R-FW-AUTHORISED, R-FW-MANIFEST, R-FW-ATOMIC."""

from __future__ import annotations

import random
import re

import pytest
from bench import DEVICE
from cryptography.hazmat.primitives.asymmetric import ec
from mqtt import Publisher
from release import ImageKey, Release, Service, class_id, sign_image

STATE = f"device/{DEVICE}/firmware/state"
# The board's own devicetree.
FLASH_BYTES, SLOT0, SLOT1, SLOT_BYTES = 0x200000, 0xC000, 0x75000, 0x69000
MAGIC = bytes.fromhex("77c295f360d2ef7f3552500f2cb67980")
BODY = random.Random(4).randbytes(100_000)


class Update:
    """A device, its service, and a release that is as it should be."""

    def __init__(self, bench) -> None:
        self.bench = bench
        bench.start_time_server()
        self.operator = bench.start_broker()
        self.key = ImageKey(bench.folder)
        self.service = Service(
            bench.keep(Publisher(bench.broker.operator_port, bench.broker.operator_folder, "operator.firmware")),
            bench.factory,
        )
        self.good = self.release("1.2.0")
        # What the device takes for the image that runs: only its header and its TLVs count.
        self.program(sign_image(bench.folder, self.key.file, b"body", "1.1.0"))

    def release(self, version: str, key: ImageKey | None = None, **image) -> Release:
        signed = sign_image(self.bench.folder, (key or self.key).file, BODY, version, **image)
        numbers = tuple(int(number) for number in version.split("."))
        return Release(signed, numbers)

    def program(self, running: bytes) -> None:
        flash = bytearray(b"\xff" * FLASH_BYTES)
        flash[SLOT0 : SLOT0 + len(running)] = running
        (self.bench.folder / "flash.bin").write_bytes(flash)

    def enrol(self):
        return self.bench.enrol(f"--image-key={self.key.public_file}")

    def run(self):
        return self.bench.run(f"--image-key={self.key.public_file}")

    def slot1(self) -> bytes:
        return (self.bench.folder / "flash.bin").read_bytes()[SLOT1 : SLOT1 + SLOT_BYTES]

    def is_marked(self) -> bool:
        return self.slot1()[-16:] == MAGIC

    def fetched_again(self) -> int:
        """So many more blocks than there are did Mosquitto send."""
        log = (self.bench.folder / "broker" / "mosquitto.log").read_text()
        sent = re.findall(rf"Sending PUBLISH to {DEVICE} .*'{self.good.uri}/\d+'", log)
        return len(sent) - len(self.good.blocks)

    def wait_for_state(self, timeout: float = 60, **fields) -> dict:
        def matches(state: dict) -> bool:
            return all(state[name] == value for name, value in fields.items())

        return self.operator.wait_for(STATE, matches, timeout)


@pytest.fixture
def update(bench):
    return Update(bench)


def test_an_image_comes_into_slot_1_byte_by_byte_and_is_marked(update):
    update.service.publish_blocks(update.good)
    firmware = update.enrol()
    idle = update.wait_for_state(phase="idle")
    assert (idle["version"], idle["sequence"]) == ("1.1.0", 0)
    update.service.announce(update.good)
    loading = update.wait_for_state(phase="downloading")
    assert (loading["target"], loading["size"], loading["delta"]) == ("1.2.0", len(update.good.image), False)
    update.wait_for_state(phase="installing")
    firmware.wait_for("boot 2, configuration 7", timeout=60)
    slot = update.slot1()
    assert slot[: len(update.good.image)] == update.good.image
    assert slot[-16:] == MAGIC
    # Nothing swaps here, which is to the device as if the image had been taken back.
    back = update.wait_for_state(fault="reverted")
    assert (back["version"], back["attempts"]) == ("1.1.0", 1)


def test_the_download_goes_on_where_the_link_was_cut(update):
    update.service.publish_blocks(update.good)
    firmware = update.enrol()
    update.wait_for_state(phase="idle")
    update.service.announce(update.good)
    update.wait_for_state(phase="downloading", timeout=60)
    for _ in range(3):
        there = update.wait_for_state(phase="downloading")["done"]
        update.bench.broker.suspend()
        firmware.wait_for("not connected")
        update.bench.broker.resume()
        update.operator = update.bench.start_operator()
        assert there < len(update.good.image)
    firmware.wait_for("boot 2, configuration 7", timeout=60)
    assert update.slot1()[: len(update.good.image)] == update.good.image
    assert update.is_marked()
    # Of a window of four blocks that was on its way each time.
    assert update.fetched_again() <= 3 * 4


def test_the_download_goes_on_after_a_power_cut(update):
    update.service.publish_blocks(update.good)
    firmware = update.enrol()
    update.wait_for_state(phase="idle")
    update.service.announce(update.good)
    for cut in range(2):
        enough = (cut + 1) * len(update.good.image) // 3
        update.operator.wait_for(STATE, lambda state: state["done"] >= enough, 60)
        firmware.kill()
        assert not update.is_marked()
        firmware = update.run()
    firmware.wait_for("boot 4, configuration 7", timeout=60)
    assert update.slot1()[: len(update.good.image)] == update.good.image
    assert update.is_marked()
    # What had come since the last note of it, 16 KiB at most, and the window.
    assert update.fetched_again() <= 2 * (8 + 4)


def test_an_altered_block_costs_one_block(update):
    altered = bytearray(update.good.block(7))
    altered[-1] ^= 1
    update.service.publish_blocks(update.good, leave_out=(7,))
    update.service.publish_block(update.good, 7, bytes(altered))
    firmware = update.enrol()
    update.wait_for_state(phase="idle")
    update.service.announce(update.good)
    update.wait_for_state(fault="block_altered")
    assert not update.is_marked()
    update.service.publish_block(update.good, 7, update.good.block(7))
    firmware.wait_for("boot 2, configuration 7", timeout=90)
    assert update.slot1()[: len(update.good.image)] == update.good.image
    assert update.is_marked()


def altered_manifest(update) -> bytes:
    envelope = update.good.envelope(update.bench.factory)
    digest = update.good.image_digest()
    assert envelope.count(digest) == 1
    return envelope.replace(digest, bytes(32))


# What is published in place of the good release's manifest, and what the device says to it.
REFUSED = {
    "altered": (altered_manifest, "manifest_digest"),
    "signed_with_another_key": (
        lambda update: update.good.but(signer=ec.generate_private_key(ec.SECP256R1())), "unknown_key"
    ),
    "of_another_class": (lambda update: update.good.but(device_class="secure-sensor other"), "class"),
    "of_another_vendor": (lambda update: update.good.but(vendor=class_id("another vendor")), "vendor"),
    "older": (lambda update: update.good.but(version=(1, 0, 9)), "older"),
    "equal": (lambda update: update.good.but(version=(1, 1, 0)), "equal"),
    "too_large": (lambda update: update.good.but(size=SLOT_BYTES), "too_large"),
}


@pytest.mark.parametrize(("make", "fault"), REFUSED.values(), ids=REFUSED)
def test_a_manifest_is_refused_by_name_and_changes_nothing(update, make, fault):
    update.service.publish_blocks(update.good)
    firmware = update.enrol()
    update.wait_for_state(phase="idle")
    refused = make(update)
    if isinstance(refused, Release):
        update.service.announce(refused)
    else:
        update.service.announce(update.good, refused)
    assert update.wait_for_state(fault=fault)["refused"] == 1
    update.operator.wait_for(f"device/{DEVICE}/telemetry")
    assert set(update.slot1()) == {0xFF}
    assert "boot 2" not in firmware.text
    # It is ready for the good one.
    update.service.announce(update.good.but(sequence=2))
    update.wait_for_state(phase="downloading")


# Images that the manifest promises and the bootloader would refuse.
IMAGES = {
    "signed_with_another_key": (
        lambda update: update.release("1.2.0", ImageKey(update.bench.folder, "other")), "image_key"
    ),
    "of_another_class": (lambda update: update.release("1.2.0", device_class="secure-sensor other"), "image_class"),
    "altered": (lambda update: update.good.but(image=flipped(update.good.image, 1000)), "image_hash"),
    "of_another_version": (lambda update: update.release("1.3.0").but(version=(1, 2, 0)), "image_version"),
    "with_another_digest": (lambda update: update.good.but(digest=bytes(32)), "image_digest"),
}


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(("make", "fault"), IMAGES.values(), ids=IMAGES)
def test_an_image_that_the_bootloader_would_refuse_is_not_marked(update, make, fault):
    release = make(update)
    update.service.publish_blocks(release)
    firmware = update.enrol()
    update.wait_for_state(phase="idle")
    update.service.announce(release)
    update.wait_for_state(fault=fault)
    assert not update.is_marked()
    update.operator.wait_for(f"device/{DEVICE}/telemetry")
    assert "boot 2" not in firmware.text
