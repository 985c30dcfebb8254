# SPDX-License-Identifier: Apache-2.0
"""The BME280 emulator's options on the native_sim command line.

Runs the test program itself: it prints what the driver measured after the boot and 75 (simulated) seconds later.
"""

import re
import subprocess
from pathlib import Path

import pytest

BOOT_READING_TEST = "-test=bme280_emul::test_the_boot_values_are_within_the_range"
BOOT_READING = "boot reading"
LATER_READING = "75 s later"


@pytest.fixture(scope="session")
def program(twister_harness_config):
    return Path(twister_harness_config.devices[0].app_build_dir) / "zephyr" / "zephyr.exe"


def run(program, *options):
    return subprocess.run(
        [program, *options], capture_output=True, text=True, timeout=60, check=False
    )


def reading(which, output):
    """A reading from the program's output, in degC, %RH and Pa."""
    found = re.search(which + r": (-?\d+) udegC (\d+) u%RH (\d+) uPa", output)
    assert found, output
    return tuple(int(number) / 1e6 for number in found.groups())


def boot_output(program, *options):
    result = run(program, *options, BOOT_READING_TEST)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.parametrize(
    "option, expected",
    [
        (None, (25, 50, 101325)),
        ("--bme280=-40,0,30000", (-40, 0, 30000)),
        ("--bme280=85,100,110000", (85, 100, 110000)),
        ("--bme280=-0.05,0.5,100653.27", (-0.05, 0.5, 100653.27)),
        ("--bme280=21.5,45.25,98000.0", (21.5, 45.25, 98000)),
    ],
)
def test_what_is_asked_for_is_measured(program, option, expected):
    output = boot_output(program, *([option] if option else []))
    temperature, humidity, pressure = reading(BOOT_READING, output)
    assert temperature == expected[0]
    assert humidity == pytest.approx(expected[1], abs=0.01)
    assert pressure == pytest.approx(expected[2], abs=0.12)
    assert reading(LATER_READING, output) == (temperature, humidity, pressure)


def test_drift_moves_the_values_the_same_way_in_every_run(program):
    output = boot_output(program, "--bme280-drift", "--bme280=20,40,90000")
    temperature, humidity, pressure = reading(LATER_READING, output)
    # 75 s are a quarter of temperature's 300 s; of 420 s and 660 s they are 71 % and 45 % of a quarter.
    assert temperature == pytest.approx(20.5, abs=0.02)
    assert humidity == pytest.approx(41.43, abs=0.05)
    assert pressure == pytest.approx(90022.7, abs=0.5)
    again = boot_output(program, "--bme280-drift", "--bme280=20,40,90000")
    assert reading(LATER_READING, again) == (temperature, humidity, pressure)


@pytest.mark.parametrize(
    "option, reason",
    [
        ("--bme280=abc", "the temperature is not a number"),
        ("--bme280=25,,101325", "the humidity is not a number"),
        ("--bme280=25,50,1013hPa", "the pressure is not a number"),
        ("--bme280=25.123,50,101325", "at most two decimals"),
        ("--bme280=25.,50,101325", "the temperature is not a number"),
        ("--bme280=1e1,50,101325", "the temperature is not a number"),
        ("--bme280= 25,50,101325", "the temperature is not a number"),
        ("--bme280=25,50", "does not have three values"),
        ("--bme280=25,50,101325,", "does not have three values"),
        ("--bme280=-40.01,50,101325", "the temperature is out of range (-40 to 85 degC)"),
        ("--bme280=85.01,50,101325", "the temperature is out of range (-40 to 85 degC)"),
        ("--bme280=25,-0.01,101325", "the humidity is out of range (0 to 100 %RH)"),
        ("--bme280=25,100.01,101325", "the humidity is out of range (0 to 100 %RH)"),
        ("--bme280=25,50,29999.99", "the pressure is out of range (30000 to 110000 Pa)"),
        ("--bme280=25,50,110000.01", "the pressure is out of range (30000 to 110000 Pa)"),
        ("--bme280=25,50,99999999999999999999", "the pressure is out of range"),
        ("--bme280-fault=dead", "no such fault. Use none, no-answer, bad-id or stuck-busy"),
        ("--bme280-fault=", "value should follow"),
    ],
)
def test_a_bad_value_ends_the_program_and_says_why(program, option, reason):
    result = run(program, option, BOOT_READING_TEST)
    assert result.returncode != 0
    assert reason in result.stderr
    assert option in result.stderr
    assert BOOT_READING not in result.stdout


@pytest.mark.parametrize("fault", ["no-answer", "bad-id", "stuck-busy"])
def test_a_fault_from_the_command_line_is_there_at_the_boot(program, fault):
    result = run(program, f"--bme280-fault={fault}", BOOT_READING_TEST)
    assert result.returncode != 0
    assert BOOT_READING not in result.stdout


def test_no_fault_can_be_asked_for(program):
    reading(BOOT_READING, boot_output(program, "--bme280-fault=none"))


def test_the_help_names_the_options_and_their_units(program):
    text = run(program, "--help").stdout
    for word in ("-bme280=<degC,%RH,Pa>", "-bme280-drift", "-bme280-fault=<fault>", "stuck-busy"):
        assert word in text
