"""What a build for release must not be signed with: each case is refused while it is configured, with words that say what to do.

    pytest tests/refusals        (in a Zephyr workspace: ZEPHYR_BASE)
"""

import os
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

# Small, and with the same sysbuild/boot.cmake as the firmware.
APPLICATION = Path(__file__).resolve().parents[1] / "boot"
RELEASE = "SB_CONFIG_SENSOR_RELEASE=y"


def development_key():
    base = os.environ.get("ZEPHYR_BASE")
    assert base, "ZEPHYR_BASE is not set: run this in a Zephyr workspace"
    return Path(base).parent / "bootloader/mcuboot/root-ec-p256.pem"


def configure(folder, *options):
    """Configures MCUboot and the test image; gives success and all output."""
    sysbuild = Path(os.environ["ZEPHYR_BASE"]) / "share/sysbuild"
    command = ["cmake", "-GNinja", "-S", sysbuild, "-B", folder / "build", "-DBOARD=mps2/an385", f"-DAPP_DIR={APPLICATION}"]
    command += [f"-D{option}" for option in options]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    # CMake breaks its lines.
    return result.returncode == 0, " ".join((result.stdout + result.stderr).split())


def write(path, key, encoding=serialization.Encoding.PEM):
    private = (encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(key.private_bytes(*private))
    return f'SB_CONFIG_BOOT_SIGNATURE_KEY_FILE="{path}"'


def write_public(path, key):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    path.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
    return f'SB_CONFIG_BOOT_SIGNATURE_KEY_FILE="{path}"'


def test_a_release_without_a_key_of_its_own_is_refused(tmp_path):
    development_key()
    good, output = configure(tmp_path, RELEASE)
    assert not good
    assert "is the key that comes with MCUboot: everybody has it" in output, output
    assert "imgtool keygen -t ecdsa-p256" in output, output


@pytest.mark.parametrize("form", ["another encoding under another name", "the public half"])
def test_mcuboots_own_key_is_recognised_in_any_form(tmp_path, form):
    key = serialization.load_pem_private_key(development_key().read_bytes(), None)
    option = (write_public if form == "the public half" else write)(tmp_path / "production.pem", key)
    good, output = configure(tmp_path, RELEASE, option)
    assert not good
    assert "is the key that comes with MCUboot" in output, output


def test_a_key_that_is_not_there_is_refused(tmp_path):
    development_key()
    good, output = configure(tmp_path, RELEASE, f'SB_CONFIG_BOOT_SIGNATURE_KEY_FILE="{tmp_path / "none.pem"}"')
    assert not good
    assert "which is no file" in output, output


def test_a_release_without_mcuboot_is_refused(tmp_path):
    development_key()
    good, output = configure(tmp_path, RELEASE, "SB_CONFIG_BOOTLOADER_NONE=y")
    assert not good
    assert "has no MCUboot: whoever reaches the flash could run any image" in output, output


def test_a_release_with_a_key_of_its_own_is_configured(tmp_path):
    development_key()
    good, output = configure(tmp_path, RELEASE, write(tmp_path / "own.pem", ec.generate_private_key(ec.SECP256R1())))
    assert good, output


def test_a_release_that_is_signed_elsewhere_needs_the_public_key_only(tmp_path):
    development_key()
    option = write_public(tmp_path / "own.pub", ec.generate_private_key(ec.SECP256R1()))
    good, output = configure(tmp_path, RELEASE, "SB_CONFIG_SENSOR_SIGNED_ELSEWHERE=y", option)
    assert good, output
    config = (tmp_path / "build/boot/zephyr/.config").read_text()
    assert 'CONFIG_MCUBOOT_SIGNATURE_KEY_FILE=""' in config
    bootloader = (tmp_path / "build/mcuboot/zephyr/.config").read_text()
    assert f'CONFIG_BOOT_SIGNATURE_KEY_FILE="{tmp_path / "own.pub"}"' in bootloader
