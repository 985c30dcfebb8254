"""What a build for hardware must not have switched on or off: refused by name, before anything is compiled.

    pytest tests/refusals        (in a Zephyr workspace: ZEPHYR_BASE)
"""

import subprocess

import pytest
from test_refusals import HARDWARE, PRODUCT, SEALING_KEY, configure_for_hardware

RELEASE = [
    SEALING_KEY,
    f'CONFIG_SENSOR_RELEASE_LIST="{PRODUCT / "release.list"}"',
    # What a release has and boards/mps2_an385.conf, which is for QEMU, has not.
    "CONFIG_ARM_MPU=y",
    "CONFIG_MPU_ALLOW_FLASH_WRITE=n",
]


def check(folder, *options):
    """Configures, and judges the configuration; gives success and all output."""
    good, output = configure_for_hardware(folder, [HARDWARE], [*RELEASE, *options])
    assert good, output
    result = subprocess.run(["ninja", "-C", folder, "release_profile"], capture_output=True, text=True, check=False)
    return result.returncode == 0, result.stdout + result.stderr


def test_a_release_has_no_option_that_is_not_in_the_list(tmp_path):
    good, output = check(tmp_path)
    assert good, output


@pytest.mark.parametrize(
    "options, said",
    [
        (["CONFIG_SHELL=y", "CONFIG_SETTINGS_SHELL=y"], "CONFIG_SETTINGS_SHELL=y is not in the list"),
        (["CONFIG_SHELL=y", "CONFIG_FLASH_SHELL=y"], "CONFIG_FLASH_SHELL=y is not in the list"),
        (
            ["CONFIG_DEBUG_COREDUMP=y", "CONFIG_DEBUG_COREDUMP_BACKEND_LOGGING=y"],
            "CONFIG_DEBUG_COREDUMP_BACKEND_LOGGING=y is not in the list",
        ),
        (["CONFIG_MBEDTLS_DEBUG=y"], "CONFIG_MBEDTLS_DEBUG=y is not in the list"),
        (["CONFIG_MPU_ALLOW_FLASH_WRITE=y"], "CONFIG_MPU_ALLOW_FLASH_WRITE=y is not in the list"),
        (["CONFIG_THREAD_ANALYZER=y"], "CONFIG_THREAD_ANALYZER=y is not in the list"),
        (["CONFIG_NO_OPTIMIZATIONS=y"], "CONFIG_NO_OPTIMIZATIONS=y is not in the list"),
        (["CONFIG_WATCHDOG=n"], "CONFIG_WATCHDOG must be y"),
        (["CONFIG_NVS_DATA_CRC=n"], "CONFIG_NVS_DATA_CRC must be y"),
        (["CONFIG_HW_STACK_PROTECTION=n"], "CONFIG_HW_STACK_PROTECTION must be y"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_opens_a_device_is_refused_by_name(tmp_path, options, said):
    good, output = check(tmp_path, *options)
    assert not good
    assert said in output, output
