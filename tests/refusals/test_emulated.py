"""A board that QEMU knows may be real as well: nothing that everybody knows gets into an image because of the board's name.

    pytest tests/refusals        (in a Zephyr workspace: ZEPHYR_BASE)
"""

import os
import subprocess
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from test_refusals import APPLICATION, HARDWARE, SEALING_KEY, configure
from test_release_key import write

BOARD = "mps2/an385"
EMULATED = "CONFIG_SENSOR_EMULATED_BOARD=y"
WHAT_TO_SAY = "for QEMU, where nothing is a secret, build with -DCONFIG_SENSOR_EMULATED_BOARD=y; for hardware supply sensor_sealing_key()"


def profile(folder):
    """What the list of releases says of what has been configured."""
    result = subprocess.run(["ninja", "-C", folder, "release_profile"], capture_output=True, text=True, check=False)
    return result.returncode == 0, result.stdout + result.stderr


def config(folder):
    return (folder / "zephyr/.config").read_text().splitlines()


def test_a_board_that_may_be_emulated_or_real_is_refused_until_one_is_said(tmp_path):
    good, output = configure(tmp_path, BOARD, [], [])
    assert not good
    # CMake breaks its lines.
    assert WHAT_TO_SAY in " ".join(output.split()), output


def test_not_even_who_asks_for_it_gets_the_key_that_everybody_knows_on_hardware(tmp_path):
    good, output = configure(tmp_path, BOARD, [], ["CONFIG_SENSOR_SEALING_KEY_TEST=y"])
    assert not good
    assert WHAT_TO_SAY in " ".join(output.split()), output


def test_what_is_said_to_be_emulated_gets_the_key_that_everybody_knows_and_no_release(tmp_path):
    good, output = configure(tmp_path, BOARD, [], [EMULATED])
    assert good, output
    assert "CONFIG_SENSOR_SEALING_KEY_TEST=y" in config(tmp_path)
    assert "# CONFIG_SENSOR_RELEASE is not set" in config(tmp_path)


def test_a_board_that_no_emulator_knows_is_not_emulated_for_the_asking(tmp_path):
    _, output = configure(tmp_path, "mps2/an386", [APPLICATION / "boards/mps2_an385.overlay"], [EMULATED])
    assert EMULATED not in config(tmp_path), output
    assert "CONFIG_SENSOR_RELEASE=y" in config(tmp_path)


def test_a_real_board_of_a_name_that_qemu_knows_gets_its_own_key_and_is_held_to_the_list(tmp_path):
    good, output = configure(tmp_path, BOARD, [HARDWARE], [SEALING_KEY])
    assert good, output
    assert "CONFIG_SENSOR_SEALING_KEY_BOARD=y" in config(tmp_path)
    # Its configuration beside the firmware's is QEMU's.
    good, output = profile(tmp_path)
    assert not good
    assert "CONFIG_FLASH_SIMULATOR=y is not in the list" in output, output
    assert "CONFIG_MPU_ALLOW_FLASH_WRITE=y is not in the list" in output, output


def test_hardware_is_not_let_off_the_list_for_the_asking(tmp_path):
    _, output = configure(tmp_path, BOARD, [HARDWARE], [SEALING_KEY, "CONFIG_SENSOR_RELEASE=n"])
    assert "CONFIG_SENSOR_RELEASE=y" in config(tmp_path), output


def test_a_release_for_an_emulator_is_held_to_the_list_as_well(tmp_path):
    assert os.environ.get("ZEPHYR_BASE"), "ZEPHYR_BASE is not set: run this in a Zephyr workspace"
    build = tmp_path / "build"
    command = [
        "cmake", "-GNinja", "-S", Path(os.environ["ZEPHYR_BASE"]) / "share/sysbuild", "-B", build, f"-DBOARD={BOARD}",
        f"-DAPP_DIR={APPLICATION}", "-DSB_CONFIG_SENSOR_RELEASE=y", f"-D{EMULATED}",
        "-D" + write(tmp_path / "own.pem", ec.generate_private_key(ec.SECP256R1())),
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    good, output = profile(build / APPLICATION.name)
    assert not good
    assert f"{EMULATED} is not in the list" in output, output
    assert "CONFIG_SENSOR_SEALING_KEY_BOARD must be y" in output, output
