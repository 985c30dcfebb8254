"""A release can be built again: the same source in other folders, with another home, gives the same image byte for byte.

    pytest tests/reproducible        (in a Zephyr workspace: ZEPHYR_BASE; two whole builds)
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

APPLICATION = Path(__file__).resolve().parents[2]
# 2026-01-01.
EPOCH = "1767225600"
IMAGES = ("firmware", "mcuboot")


class Build:
    """One build of a copy of the source."""

    def __init__(self, folder: Path, name: str) -> None:
        base = os.environ.get("ZEPHYR_BASE")
        assert base, "ZEPHYR_BASE is not set: run this in a Zephyr workspace"
        self.workspace = Path(base).parent
        self.source, self.build, self.home = folder / name, folder / "build", folder / "cargo"
        listed = ["git", "-C", APPLICATION, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        for file in subprocess.run(listed, capture_output=True, check=True).stdout.decode().split("\0"):
            if file and (APPLICATION / file).is_file():
                (self.source / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(APPLICATION / file, self.source / file)
        self.home.symlink_to(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
        command = [
            "west", "build", "-d", self.build, "-b", "mps2/an385", "--sysbuild", "-o=-j2", self.source,
            "--", "-DCONFIG_SENSOR_EMULATED_BOARD=y",
        ]  # fmt: skip
        environment = os.environ | {"CARGO_HOME": str(self.home), "SOURCE_DATE_EPOCH": EPOCH}
        done = subprocess.run(command, cwd=self.source, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-10_000:]

    def file(self, image: str, name: str) -> Path:
        return self.build / (self.source.name if image == "firmware" else image) / "zephyr" / name

    def image(self, image: str) -> bytes:
        """What runs, without a signature: that is another one each time."""
        return self.file(image, "zephyr.bin").read_bytes()

    def digest(self) -> str:
        """What the signature is about: header, image and protected TLVs."""
        scripts = self.workspace / "bootloader/mcuboot"
        verify = [sys.executable, scripts / "scripts/imgtool.py", "verify", "--key", scripts / "root-ec-p256.pem"]
        said = subprocess.run([*verify, self.file("firmware", "zephyr.signed.bin")], capture_output=True, text=True, check=True)
        (digest,) = (line for line in said.stdout.splitlines() if "digest" in line)
        return digest


def test_two_builds_of_the_same_source_in_other_folders_are_the_same_byte_for_byte(tmp_path):
    for name in ("one", "another"):
        (tmp_path / name).mkdir()
    one, another = Build(tmp_path / "one", "sensor-device"), Build(tmp_path / "another", "a-longer-name")
    for image in IMAGES:
        bytes_of = one.image(image)
        assert bytes_of == another.image(image), image
        for place in (tmp_path, one.workspace, Path.home() / ".cargo", APPLICATION):
            assert os.fsencode(place) not in bytes_of, f"{image} says where it was built: {place}"
    assert one.digest() == another.digest()
