"""The list of what a release may have, and the script that reads it: what opens a device is in no list, and is refused by name.

    pytest tests/refusals/test_release_list.py        (what is asked of Zephyr's own options needs a workspace: ZEPHYR_BASE)
"""

import os
import re
import sys
from pathlib import Path

import pytest

APPLICATION = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(APPLICATION / "scripts"))

import release_profile  # noqa: E402

LIST = APPLICATION / "release.list"
LISTS = release_profile.Lists([LIST])
REQUIRED = "".join(f"CONFIG_{name}=y\n" for name in LISTS.required)
# Words in the names of what lets somebody in, or something out.
OPENS = re.compile(
    r"SHELL|GDB|DEBUG|DUMP|TRACING|(?<!LOG_)TRACE|JTAG|SWD|SWO|RTT|_ETM|_ITM|ANALYZER|ANALYSER|PROFIL|PERF|LLEXT|(?<!BOOT)LOADER|MCUMGR|HAWKBIT|"
    r"UPDATEHUB|USB|UDC|UHC|BT|BLUETOOTH|CDC|MODBUS|TFTP|HTTP_SERVER|HTTP_CLIENT|TELNET|LWM2M|COAP|WEBSOCKET|CAPTURE|PROMISC|REMOTE|"
    r"BACKEND_NET|BACKEND_FS|BACKEND_MQTT|BACKEND_WS|FRONTEND|ASSERT|COVERAGE|GCOV|TEST|INSECURE|UNSAFE|ALLOW_FLASH_WRITE|UICR|APPROTECT|"
    r"DFU|EXEC_IN_RAM|CONSOLE_HANDLER|CONSOLE_GET|UART_PIPE|UART_MCUMGR|SLIP|PPP"
)  # fmt: skip
# Those of them that only say what silicon or Zephyr could, or how much of it is logged.
FACTS = re.compile(r"(ARCH_SUPPORTS|ARCH_HAS|CPU_HAS|DT_HAS|HAS)_\w+|\w+_LOG_LEVEL(_DEFAULT)?")


def refused(*lines, lists=(LIST,)):
    return release_profile.faults(REQUIRED + "".join(f"CONFIG_{line}\n" for line in lines), list(lists))


def test_what_must_be_on_and_nothing_else_is_a_release():
    assert refused() == []


@pytest.mark.parametrize(
    "line",
    [
        "SHELL=y",
        "SETTINGS_SHELL=y",
        "NET_SHELL=y",
        "ARM_SIP_SVC_SUBSYS_SHELL=y",
        "SHELL_BACKEND_SERIAL=y",
        "FILE_SYSTEM_SHELL=y",
        "GDBSTUB=y",
        "DEBUG=y",
        "DEBUG_COREDUMP=y",
        "DEBUG_COREDUMP_BACKEND_LOGGING=y",
        "CORTEX_M_DEBUG_MONITOR_HOOK=y",
        "SOC_MEC_DEBUG_AND_TRACING=y",
        "SOC_IT8XXX2_JTAG_DEBUG_INTERFACE=y",
        "SOC_FLASH_NRF_UICR=y",
        "BOARD_SERIAL_BACKEND_CDC_ACM=y",
        "NRF_APPROTECT_DISABLE=y",
        "MBEDTLS_DEBUG=y",
        "MBEDTLS_LOG_LEVEL_DBG=y",
        'COMPILER_OPT="-DMBEDTLS_DEBUG_C"',
        'MBEDTLS_USER_CONFIG_FILE="mine.h"',
        'MBEDTLS_CFG_FILE="mine.h"',
        "LOG_DEFAULT_LEVEL=4",
        "LOG_OVERRIDE_LEVEL=4",
        "LOG_BACKEND_NET=y",
        "LOG_BACKEND_RTT=y",
        "LOG_RUNTIME_FILTERING=y",
        "THREAD_ANALYZER=y",
        "CPU_LOAD=y",
        "TRACING=y",
        "LLEXT=y",
        "MCUMGR=y",
        "USB_DEVICE_STACK=y",
        "USB_DEVICE_STACK_NEXT=y",
        "BT=y",
        "MPU_ALLOW_FLASH_WRITE=y",
        "ASSERT=y",
        "ASSERT_VERBOSE=y",
        "EXCEPTION_DEBUG=y",
        "FAULT_DUMP=2",
        "CBPRINTF_N_SPECIFIER=y",
        "UART_PIPE=y",
        "CONSOLE_GETLINE=y",
        "SENSOR_EMULATED_BOARD=y",
        "SENSOR_SEALING_KEY_TEST=y",
        "SENSOR_KEY_INJECTION=y",
        "SENSOR_TEST_FAULTS=y",
        "SENSOR_SELF_TEST=y",
        # A build that would believe times before it was made.
        "SENSOR_BUILD_EPOCH=1",
        "TEST_RANDOM_GENERATOR=y",
    ],
)
def test_what_opens_a_device_is_refused_by_its_name(line):
    (said,) = refused(line)
    assert said == f"CONFIG_{line} is not in the list of what a release may have"


@pytest.mark.parametrize("line", ["SHELL_STACK_SIZE=0", 'COMPILER_OPT=""', "LOG_OVERRIDE_LEVEL=0", "LOG_DEFAULT_LEVEL=3", "CPU_HAS_MPU=y"])
def test_what_is_not_set_or_has_the_value_in_the_list_is_not_refused(line):
    assert refused(line) == []


@pytest.mark.parametrize("name", LISTS.required)
def test_what_must_be_on_and_is_off_is_refused_by_its_name(name):
    on = REQUIRED.replace(f"CONFIG_{name}=y\n", "")
    for configuration in (on, on + f"# CONFIG_{name} is not set\n", on + f"CONFIG_{name}=m\n"):
        assert f"CONFIG_{name} must be y in a release" in release_profile.faults(configuration, [LIST])


@pytest.mark.parametrize("line", ["*", "N*", "NET*", "NET_*_SHELL", "-SHELL", "!*", "NET SHELL"])
def test_a_line_that_could_permit_anything_is_no_line_of_a_list(tmp_path, line):
    product = tmp_path / "product.list"
    product.write_text(f"OWN_DRIVER\n{line}\n")
    with pytest.raises(ValueError, match="is no line of a list"):
        refused("OWN_DRIVER=y", lists=[LIST, product])


def test_a_products_own_list_permits_what_it_names_and_no_more(tmp_path):
    product = tmp_path / "product.list"
    product.write_text("OWN_DRIVER  # ours\nOWN_RATE=5\n")
    assert refused("OWN_DRIVER=y", "OWN_RATE=5", lists=[LIST, product]) == []
    assert len(refused("OWN_DRIVER_SHELL=y", "OWN_RATE=6", lists=[LIST, product])) == 2


def options():
    """Every option that Zephyr's own tree defines: whether somebody can set it."""
    base = os.environ.get("ZEPHYR_BASE")
    if not base:
        pytest.skip("no Zephyr workspace: ZEPHYR_BASE is not set")
    found = {}
    for path in Path(base).rglob("Kconfig*"):
        if path.relative_to(base).parts[0] in ("tests", "samples", "scripts", "doc") or not path.is_file():
            continue
        name = None
        for line in path.read_text(errors="replace").splitlines():
            if defined := re.fullmatch(r"\s*(?:menu)?config\s+(\w+)\s*(?:#.*)?", line):
                name = defined[1]
                found.setdefault(name, False)
            elif re.match(r"\S", line):
                name = None
            elif name and re.match(r"\s+(?:(?:bool|int|hex|string|tristate)\s+[\"']|prompt\s)", line):
                found[name] = True
    assert len(found) > 10_000
    return found


def test_the_lists_patterns_permit_nothing_that_somebody_could_set():
    settable = [name for name, prompt in options().items() if prompt and name not in LISTS.values]
    assert [name for name in settable if name.startswith(LISTS.beginnings)] == []


def test_no_option_of_zephyrs_that_opens_a_device_is_in_the_list():
    opening = [name for name in options() if OPENS.search(name) and not FACTS.fullmatch(name)]
    assert len(opening) > 1_000
    assert [name for name in opening if LISTS.permit(name, "y")] == []
