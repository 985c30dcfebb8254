#!/usr/bin/env python3
"""Runs the virtual board (mps2/an385 in QEMU): MCUboot, the firmware in slot 0, flash in a file.

`west build -t run` calls this. The flash file survives resets, Ctrl+a x and kill -9. A newly built image is programmed into
slot 0 as a debugger would do it: everything else in the flash stays. What an update has installed stays too, as long as the
build is the same.
"""

import argparse
import hashlib
import os
import pathlib
import shutil
import sys

# As in boards/mps2_an385_flash.dtsi.
FLASH_ADDRESS = 0x2100_0000
FLASH_BYTES = 0x20_0000
SECTOR_BYTES = 0x1000
SLOT0 = (0x1_0000, 0xC_0000)
SLOT1 = (0xD_0000, 0xC_1000)
# The machine's PSRAM: the file has its size, and is sparse behind the flash.
FILE_BYTES = 0x100_0000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"), help="west's build directory")
    parser.add_argument("--application", help="name of the image in the build directory (default: the only one)")
    parser.add_argument("--flash", type=pathlib.Path, help="flash file (default: $SENSOR_FLASH, or flash.bin in the build)")
    parser.add_argument("--fresh", action="store_true", help="begin with erased flash")
    parser.add_argument("--candidate", type=pathlib.Path, metavar="IMAGE",
                        help="put this signed image into slot 1, marked for a trial")
    parser.add_argument("--no-run", action="store_true", help="only prepare the flash file")
    parser.add_argument("qemu", nargs=argparse.REMAINDER, help="further arguments for QEMU, after --")
    return parser.parse_args()


def fail(text):
    sys.exit(f"virtual_board.py: {text}")


def write(flash, slot, image, start):
    """Programs `image` into `slot`, `start` bytes from its begin; the rest of the slot is erased."""
    offset, size = slot
    if start + len(image) > size:
        fail(f"the image has {len(image)} bytes, the slot only {size - start}")
    flash.seek(offset)
    flash.write(b"\xff" * start + image + b"\xff" * (size - start - len(image)))


def mark(flash):
    """MCUboot's magic at the end of slot 1: for a trial."""
    flash.seek(sum(SLOT1) - 16)
    flash.write(bytes.fromhex("77c295f360d2ef7f3552500f2cb67980"))


def prepare(file, image, fresh):
    if fresh or not file.exists():
        with open(file, "wb") as flash:
            flash.write(b"\xff" * FLASH_BYTES)
            flash.truncate(FILE_BYTES)
    note = file.with_name(file.name + ".programmed")
    digest = hashlib.sha256(image).hexdigest()
    if not fresh and note.exists() and note.read_text() == digest:
        return
    with open(file, "r+b") as flash:
        write(flash, SLOT0, image, 0)
        # No update of the former image is left half-way.
        write(flash, SLOT1, b"", 0)
    note.write_text(digest)
    print(f"programmed {len(image)} bytes into slot 0 of {file}", file=sys.stderr)


def record(given, application, file, bootloader, line):
    """The same board with every flash operation noted, until the standard input ends: cargo xtask record."""
    if given.qemu or os.environ.get("SENSOR_FORWARD"):
        fail("what is recorded takes no further arguments for QEMU and no SENSOR_FORWARD")
    crates = pathlib.Path(__file__).resolve().parents[1] / "crates"
    program = pathlib.Path(os.environ.get("SENSOR_PROGRAMS") or crates / "target/debug") / "xtask"
    if not program.is_file():
        fail(f"{program} is missing: cargo build --package xtask (in crates/), or set SENSOR_PROGRAMS")
    log = os.environ["SENSOR_BOARD_RECORD"]
    command = [str(program), "record", "--log", log, "--name", pathlib.Path(log).stem, "--flash", str(file),
               "--bootloader", str(bootloader)]
    for name in ("mcuboot", application):
        command += ["--elf", str(given.build / name / "zephyr/zephyr.elf")]
    kind, _, path = line.split(",")[0].partition(":")
    if kind == "unix":
        command += ["--line", path]
    os.execv(program, command)


def main():
    given = arguments()
    names = [given.application] if given.application else sorted(
        path.parent.parent.name for path in given.build.glob("*/zephyr/zephyr.signed.bin"))
    if len(names) != 1:
        fail(f"{given.build} has no image, or more than one ({', '.join(names)}): say --application, or build with "
             "west build -b mps2/an385 --sysbuild -- -DCONFIG_SENSOR_EMULATED_BOARD=y")
    bootloader = given.build / "mcuboot/zephyr/zephyr.bin"
    image = given.build / names[0] / "zephyr/zephyr.signed.bin"
    for path in (bootloader, image):
        if not path.exists():
            fail(f"{path} is missing: west build -b mps2/an385 --sysbuild")
    file = given.flash or pathlib.Path(os.environ.get("SENSOR_FLASH") or given.build / "flash.bin")
    prepare(file, image.read_bytes(), given.fresh)
    if given.candidate:
        with open(file, "r+b") as flash:
            write(flash, SLOT1, given.candidate.read_bytes(), SECTOR_BYTES)
            mark(flash)
    if given.no_run:
        return
    qemu = shutil.which("qemu-system-arm")
    if not qemu:
        fail("qemu-system-arm is missing: apt-get install qemu-system-arm")
    line = os.environ.get("SENSOR_LINE") or f"unix:{file.with_name(file.name + '.line')},server=on,wait=off"
    if os.environ.get("SENSOR_BOARD_RECORD"):
        record(given, names[0], file, bootloader, line)
    forward = os.environ.get("SENSOR_FORWARD", "")
    command = [
        qemu, "-cpu", "cortex-m3", "-machine", "mps2-an385,memory-backend=flash", "-display", "none",
        "-object", f"memory-backend-file,id=flash,mem-path={file},size={FILE_BYTES},share=on",
        "-global", f"armv7m.init-nsvtor={FLASH_ADDRESS:#x}",
        "-device", f"loader,file={bootloader},addr={FLASH_ADDRESS:#x},force-raw=on",
        "-nic", "user,model=lan9118" + (f",{forward}" if forward else ""),
        "-serial", "mon:stdio", "-serial", line,
    ]
    command += [word for word in given.qemu if word != "--"]
    if not line.startswith("null"):
        print(f"the factory's line: {line.removesuffix(',server=on,wait=off')}", file=sys.stderr)
    os.execv(qemu, command)


if __name__ == "__main__":
    main()
