"""The virtual board (docs/boot.md) with its service around it: QEMU, the real MCUboot, flash in a file."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import tempfile
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/firmware/pytest"))

from bench import DEVICE, Bench  # noqa: E402
from factory import Line  # noqa: E402
from firmware import Firmware  # noqa: E402
from mqtt import Publisher  # noqa: E402
from release import Release, Service, sign_image  # noqa: E402

# As QEMU's user network names the machine that it runs on.
HOST = "10.0.2.2"
CLASS = "secure-sensor mps2/an385"
# boards/mps2_an385_flash.dtsi
SLOT0, SLOT1, SLOT_BYTES, SECTOR = 0x10000, 0xD0000, 0xC0000, 0x1000
HEADER = 512


# Everybody knows it: the board is built with its public half (factory.pub).
FACTORY_KEY = ec.derive_private_key(
    int.from_bytes(hashlib.sha256(b"factory of the virtual board").digest(), "big"), ec.SECP256R1()
)


def pytest_configure(config) -> None:
    config.addinivalue_line("markers", "short: also runs where the rest would take too long (cargo xtask test board)")


class ShortFolder(tempfile.TemporaryDirectory):
    """A folder with a short path."""

    def close(self) -> None:
        self.cleanup()


class SocketLine(Line):
    """The board's factory line: a socket of QEMU's."""

    def __init__(self, path: Path) -> None:
        deadline = time.monotonic() + 30
        self.socket = socket.socket(socket.AF_UNIX)
        while True:
            try:
                self.socket.connect(str(path))
                break
            except OSError:
                assert time.monotonic() < deadline, f"QEMU does not open {path}"
                time.sleep(0.05)
        self.file = self.socket.fileno()
        self.buffer = b""

    def close(self) -> None:
        self.socket.close()


class Recorded(Firmware):
    """A board whose flash operations are noted (cargo xtask record)."""

    def finish(self) -> str:
        """Ends it; the log is there then. What the recorder says of it."""
        if not self.process.stdin.closed:
            self.process.stdin.close()
        assert self.process.wait(60) == 0, self.text[-2000:]
        return self.wait_for(r"\d+ flash operations are in .*", 10)[0]

    def close(self) -> None:
        # It ends its QEMU; killed, it could not.
        self.process.stdin.close()
        try:
            self.process.wait(20)
        finally:
            super().close()


class Board(Bench):
    """A board, its service, and what it is built from."""

    def __init__(self, build: Path, application: Path, folder: Path) -> None:
        super().__init__(build / "no program of the host", folder)
        self.build = build
        self.application = application
        self.factory.keys["factory"] = FACTORY_KEY
        self.flash = folder / "flash.bin"
        # A socket's path may not be long.
        self.line = Path(self.keep(ShortFolder()).name) / "line"

    def image(self, version: str, build: int = 0, appended: bytes = b"") -> bytes:
        """The firmware under this version; the build number says what is wrong with it (SENSOR_TEST_FAULTS). What is
        appended to its code makes it another image."""
        body = (self.application / "zephyr/zephyr.bin").read_bytes() + appended
        return sign_image(
            self.folder, development_key(), body, f"{version}+{build}", CLASS, HEADER, SLOT_BYTES + SECTOR, False
        )

    def release(self, version: str, build: int = 0) -> Release:
        """The same as something to publish."""
        major, minor, revision = map(int, version.split("."))
        return Release(self.image(version, build), (major, minor, revision), device_class=CLASS)

    def burn(self, image: bytes) -> None:
        """Erased flash with this image in slot 0, as the factory programs it."""
        # It is not to be programmed with the image of the build.
        built = (self.application / "zephyr/zephyr.signed.bin").read_bytes()
        self.flash.with_name("flash.bin.programmed").write_text(hashlib.sha256(built).hexdigest())
        flash = bytearray(b"\xff" * 0x200000)
        flash[SLOT0 : SLOT0 + len(image)] = image
        with self.flash.open("wb") as file:
            file.write(flash)
            file.truncate(0x1000000)

    def slot0(self, length: int) -> bytes:
        with self.flash.open("rb") as file:
            file.seek(SLOT0)
            return file.read(length)

    def configuration(self, **changes) -> bytes:
        at_host = {"host": HOST, "time_servers": [f"{HOST}:{self.time_server.port}"]}
        return super().configuration(**at_host | changes)

    def run(self, *arguments: str, record: Path | None = None) -> Firmware:
        """Starts QEMU on the flash as it is; with every flash operation noted where there is a file to `record` to."""
        self.line.unlink(missing_ok=True)
        command = [
            sys.executable, str(ROOT / "scripts/virtual_board.py"), "--build", str(self.build), "--application",
            self.application.name, "--flash", str(self.flash),
        ]
        environment = {"SENSOR_LINE": f"unix:{self.line},server=on,wait=off"}
        if record:
            environment["SENSOR_BOARD_RECORD"] = str(record)
        kind = Recorded if record else Firmware
        return self.keep(kind(command, self.folder / "console.log", environment))

    def open_line(self, firmware: Firmware) -> Line:
        firmware.wait_for("the device is blank")
        return SocketLine(self.line)

    def start_service(self) -> Service:
        self.start_time_server()
        self.operator = self.start_broker(self.authority.server(names=("localhost", "127.0.0.1", HOST)))
        folder = self.broker.operator_folder
        publisher = self.keep(Publisher(self.broker.operator_port, folder, "operator.firmware"))
        return Service(publisher, self.factory, CLASS)



def development_key() -> Path:
    """What MCUboot is built with, and everybody has."""
    base = os.environ.get("ZEPHYR_BASE")
    assert base, "ZEPHYR_BASE is not set: run this in a Zephyr workspace"
    return Path(base).parent / "bootloader/mcuboot/root-ec-p256.pem"


@pytest.fixture
def board(request: pytest.FixtureRequest, tmp_path: Path):
    device = request.config.twister_harness_config.devices[0]
    board = Board(device.build_dir, device.app_build_dir, tmp_path)
    try:
        yield board
    finally:
        board.close()
