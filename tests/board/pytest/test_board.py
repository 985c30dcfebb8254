"""Updates on the virtual board, through the real MCUboot: a good image stays, and a bad one goes by itself. Configuration,
commands and log on a Cortex-M. R-FW-ATOMIC, R-FW-HEALTH, R-BOOT-VERIFY, R-BOOT-NEWER, R-CONF, R-LOG."""

from __future__ import annotations

import time

import pytest
from bench import DEVICE
from control import REPORT
from security_log import CONFIGURED, missing, read_pieces

STATE = f"device/{DEVICE}/firmware/state"
TELEMETRY = f"device/{DEVICE}/telemetry"


def wait_for_state(board, timeout: float = 120, **fields) -> dict:
    def matches(state: dict) -> bool:
        return all(state[name] == value for name, value in fields.items())

    return board.operator.wait_for(STATE, matches, timeout)


def start_with_v1(board):
    """A device in service that runs 1.0.0."""
    service = board.start_service()
    v1 = board.image("1.0.0")
    board.burn(v1)
    firmware = board.enrol()
    wait_for_state(board, phase="idle", version="1.0.0", sequence=0)
    return service, v1, firmware


@pytest.mark.short
def test_v1_installs_v2_which_confirms_itself(board):
    service, _, firmware = start_with_v1(board)
    batch = board.operator.wait_for(TELEMETRY, lambda batch: batch["s"])
    assert batch["s"][0][1] is not None, "the sensor answers"
    v2 = board.release("2.0.0")
    service.publish_blocks(v2)
    service.announce(v2)
    assert wait_for_state(board, phase="downloading")["size"] == len(v2.image)
    wait_for_state(board, phase="installing", version="1.0.0")
    firmware.wait_for("sensor device 2.0.0 on mps2, started because the firmware asked for it", timeout=120)
    wait_for_state(board, phase="trial", version="2.0.0")
    stays = wait_for_state(board, phase="idle", version="2.0.0")
    assert (stays["sequence"], stays["fault"]) == (1, None)
    firmware.wait_for("firmware 2.0.0 has proven itself and stays")
    assert board.slot0(len(v2.image)) == v2.image
    # And over a power cut.
    firmware.kill()
    board.run().wait_for("sensor device 2.0.0 on mps2")
    wait_for_state(board, phase="idle", version="2.0.0", sequence=1)


@pytest.mark.short
def test_configuration_commands_and_log_work_here_too_and_the_stack_holds(board):
    _, _, firmware = start_with_v1(board)
    control = board.keep(board.start_control())
    control.configure(8, sample_period_ms=500, report_period_ms=1000)
    board.operator.wait_for(f"device/{DEVICE}/config/state", lambda state: state["values"]["sample_period_ms"] == 500)
    control.command(1, REPORT)
    board.operator.wait_for(f"device/{DEVICE}/command/answer", lambda said: said["outcome"] == "done")
    deadline = time.monotonic() + 60
    records = []
    while not any(record.event == CONFIGURED for record in records):
        assert time.monotonic() < deadline, f"there is only {records}"
        time.sleep(0.2)
        records = read_pieces(board.operator.said(f"device/{DEVICE}/log"), DEVICE, board.identity_key)
    assert not missing(records)
    # The next look at the stacks; Zephyr remembers how deep each has been since the start.
    firmware.searched = len(firmware.text)
    looked_at = firmware.searched
    # In whatever order they come.
    for thread in ("main", "network"):
        firmware.searched = looked_at
        stack = rf"\b{thread} +: STACK: unused (\d+) usage \d+ / (\d+)"
        unused, total = map(int, firmware.wait_for(stack, timeout=90).groups())
        assert unused * 10 >= total, f"the stack of {thread} is nearly full: {unused} of {total} bytes are left"


PANICS = 2


# The build numbers of SENSOR_TEST_FAULTS.
@pytest.mark.parametrize(
    ("build", "fault"),
    # The last one has noted before it went that it stays: its manifest counts as installed, and is not taken again.
    [(1, "reverted"), (2, "reverted"), (3, "no_service"), (4, "no_sensor"), (5, "sequence")],
    ids=["hangs_at_start", "panics", "cannot_connect", "sensor_is_dead", "never_confirms"],
)
def test_a_bad_image_goes_by_itself(board, build, fault):
    service, v1, _ = start_with_v1(board)
    board.operator.wait_for(TELEMETRY, lambda batch: batch["s"] and batch["s"][0][1] is not None)
    bad = board.release("2.0.0", build)
    service.publish_blocks(bad)
    service.announce(bad)
    wait_for_state(board, phase="installing", version="1.0.0")
    back = wait_for_state(board, timeout=240, version="1.0.0", fault=fault)
    assert back["sequence"] == int(fault == "sequence")
    if build == PANICS:
        assert board.operator.hellos[-1]["reset"] == "fault"
    assert board.slot0(len(v1)) == v1


def test_a_bad_image_is_not_tried_for_ever(board):
    service, v1, _ = start_with_v1(board)
    bad = board.release("2.0.0", PANICS)
    service.publish_blocks(bad)
    service.announce(bad)
    assert wait_for_state(board, timeout=240, version="1.0.0", fault="reverted")["attempts"] == 1
    # The second and last time comes four trials later.
    last = wait_for_state(board, timeout=400, version="1.0.0", phase="failed", attempts=2)
    assert last["sequence"] == 0
    assert board.slot0(len(v1)) == v1
    # A better one is taken.
    good = board.release("2.0.1").but(sequence=2)
    service.publish_blocks(good)
    service.announce(good)
    wait_for_state(board, timeout=240, version="2.0.1", phase="idle", sequence=2)
