"""What a build for hardware must not be: each case is refused by the compiler, with words that say what to do.

mps2/an386 stands for hardware: Zephyr knows no emulator for it. The firmware is configured for it as for its sister
mps2/an385, and the files with the assertions are compiled; nothing is linked.

    pytest tests/refusals        (in a Zephyr workspace: ZEPHYR_BASE)
"""

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

APPLICATION = Path(__file__).resolve().parents[2]
PRODUCT = Path(__file__).resolve().parent / "product"
SOURCES = ["shim.c", "shim_flash.c", "shim_slots.c", "shim_vault.c"]
HEADERS = ["app_version_h", "driver_validation_h_target", "kobj_types_h_target", "offsets_h", "syscall_list_h_target"]
HARDWARE, UNTESTED, NO_LOG = (PRODUCT / f"{name}.overlay" for name in ("hardware", "untested", "no_log"))
SEALING_KEY = "CONFIG_REFUSALS_PRODUCT_SEALING_KEY=y"


def configure(folder, board, overlays, options):
    """Configures; gives success and all output."""
    assert os.environ.get("ZEPHYR_BASE"), "ZEPHYR_BASE is not set: run this in a Zephyr workspace"
    command = [
        "cmake", "-GNinja", "-S", APPLICATION, "-B", folder, f"-DBOARD={board}", f"-DEXTRA_ZEPHYR_MODULES={PRODUCT}",
        "-DEXTRA_DTC_OVERLAY_FILE=" + ";".join(str(overlay) for overlay in overlays),
        *(f"-D{option}" for option in options),
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.returncode == 0, result.stdout + result.stderr


def configure_for_hardware(folder, overlays, options):
    """The same for the stand-in."""
    options = [f"EXTRA_CONF_FILE={APPLICATION / 'boards/mps2_an385.conf'}", *options]
    return configure(folder, "mps2/an386", [APPLICATION / "boards/mps2_an385.overlay", *overlays], options)


def compile_for_hardware(folder, overlays, options):
    """Configures, and compiles the files with the assertions; gives success and all output."""
    good, output = configure_for_hardware(folder, overlays, options)
    if not good:
        return False, output
    result = subprocess.run(["ninja", "-C", folder, *HEADERS], capture_output=True, text=True, check=False)
    output += result.stdout + result.stderr
    if result.returncode != 0:
        return False, output
    for entry in json.loads((folder / "compile_commands.json").read_text()):
        if Path(entry["file"]) in [APPLICATION / "src" / source for source in SOURCES]:
            command = [*shlex.split(entry["command"]), "-fsyntax-only"]
            result = subprocess.run(command, cwd=entry["directory"], capture_output=True, text=True, check=False)
            output += result.stderr
            good &= result.returncode == 0
    return good, output


def test_hardware_with_its_own_entropy_and_sealing_key_is_built(tmp_path):
    good, output = compile_for_hardware(tmp_path, [HARDWARE], [SEALING_KEY])
    assert good, output


@pytest.mark.parametrize(
    "overlays, options, said",
    [
        ([HARDWARE], [], "supply sensor_sealing_key() for the board"),
        # Not even when it is asked for.
        ([HARDWARE], ["CONFIG_SENSOR_SEALING_KEY_TEST=y"], "supply sensor_sealing_key() for the board"),
        ([], [SEALING_KEY], "emulated entropy source"),
        (
            [HARDWARE],
            [SEALING_KEY, "CONFIG_TEST_RANDOM_GENERATOR=y"],
            "A test random generator makes guessable keys",
        ),
        ([HARDWARE, UNTESTED], [SEALING_KEY], "zephyr,entropy must be a sensor,health-tested-entropy"),
        (
            [HARDWARE],
            [SEALING_KEY, "CONFIG_HARDWARE_DEVICE_CS_GENERATOR=y"],
            "Keys are made by the CTR_DRBG only",
        ),
        (
            [HARDWARE],
            [SEALING_KEY, "CONFIG_MBEDTLS_PSA_CRYPTO_EXTERNAL_RNG_ALLOW_NON_CSPRNG=y"],
            "Keys are made by the CTR_DRBG only",
        ),
        (
            [HARDWARE],
            [SEALING_KEY, "CONFIG_SECURE_STORAGE_ITS_TRANSFORM_AEAD_KEY_PROVIDER_ENTRY_UID_HASH=y"],
            "other providers make the key of public numbers",
        ),
    ],
)
def test_a_build_that_could_not_keep_a_secret_is_refused(tmp_path, overlays, options, said):
    good, output = compile_for_hardware(tmp_path, overlays, options)
    assert not good
    assert said in output.replace('"\n"', ""), output


@pytest.mark.parametrize(
    "options, said",
    [
        (["CONFIG_SENSOR_TEST_FAULTS=y"], "Images that are made to fail are for emulated boards only"),
        (["CONFIG_MAIN_THREAD_PRIORITY=5"], "The device's loop must not wait for the network's thread"),
        (["CONFIG_MBEDTLS_SSL_PROTO_TLS1_2=y", "CONFIG_MBEDTLS_KEY_EXCHANGE_ECDHE_ECDSA_ENABLED=y"], "One version of TLS"),
        (["CONFIG_PSA_WANT_ALG_DETERMINISTIC_ECDSA=y"], "Deterministic ECDSA"),
        (
            ["CONFIG_NET_SOCKETS_DNS_TIMEOUT=3000", "CONFIG_NET_SOCKETS_DNS_BACKOFF_INTERVAL=2000"],
            "A query that is repeated while its first answer may still come",
        ),
        (
            ["CONFIG_SENSOR_TRIAL_MS=90000", "CONFIG_SENSOR_TRIAL_DEADLINE_MS=80000"],
            "SENSOR_TRIAL_DEADLINE_MS must leave time for SENSOR_TRIAL_MS",
        ),
    ],
)
def test_a_build_whose_updates_could_not_work_is_refused(tmp_path, options, said):
    good, output = compile_for_hardware(tmp_path, [HARDWARE], [SEALING_KEY, *options])
    assert not good
    assert said in output.replace('"\n"', ""), output


def test_a_build_whose_configuration_could_not_be_tried_is_refused(tmp_path):
    options = [SEALING_KEY, "CONFIG_SENSOR_CONFIGURATION_TRIAL_MS=50000"]
    good, output = compile_for_hardware(tmp_path, [HARDWARE], options)
    assert not good
    said = "SENSOR_CONFIGURATION_TRIAL_MS must leave time for one connection and its first answer"
    assert said in output.replace('"\n"', ""), output


def test_a_board_without_a_partition_for_the_log_is_refused_before_anything_is_compiled(tmp_path):
    good, output = compile_for_hardware(tmp_path, [HARDWARE, NO_LOG], [SEALING_KEY])
    assert not good
    # CMake breaks its lines.
    said = "has no log_partition: add it to the flash's partitions in an overlay; docs/firmware.md, Flash"
    assert said in " ".join(output.split()), output
