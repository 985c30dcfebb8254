"""A network that makes the device wait, in each way that there is: it goes on measuring. R-DATA-INTACT.

STALL_S is how long each way lasts, in seconds. What a person runs: STALL_S=200, ten minutes in all.
"""

from __future__ import annotations

import json
import os
import time

import pytest
from bench import DEVICE
from gate import DEAF, DROPS, OPEN, STALLS, Gate

STATE, TELEMETRY = (f"device/{DEVICE}/{channel}" for channel in ("state", "telemetry"))
STALL_S = float(os.environ.get("STALL_S", 20))
PERIOD_MS = 1_000

# What the device says of it, at least once while it lasts.
SAYS = {
    DROPS: "not connected: .*connect_timeout",
    STALLS: "not connected: .*connect_timeout",
    DEAF: "not connected: .*ack_timeout",
}


def samples(operator) -> list[tuple[int, int, int]]:
    """Number, time in milliseconds since the first of its batch, and losses before it, of all that has come; each once."""
    found = {}
    for payload in operator.said(TELEMETRY):
        batch = json.loads(payload)
        assert batch["boot"] == 1
        for index, sample in enumerate(batch["s"]):
            found[batch["seq"] + index] = (batch["t"] + sample[0], batch["lost"])
    return [(seq, *found[seq]) for seq in sorted(found)]


def wait_until(condition, timeout: float, what: str) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_every_sample_is_taken_while_the_network_makes_the_device_wait(bench):
    bench.start_time_server()
    operator = bench.start_broker()
    gate = bench.keep(Gate(OPEN))
    gate.to = bench.broker.port
    firmware = bench.enrol(port=gate.port, sample_period_ms=PERIOD_MS, report_period_ms=PERIOD_MS)
    wait_until(lambda: samples(operator), 60, "there is no sample")
    for mode, says in SAYS.items():
        firmware.searched = len(firmware.text)
        before = len(samples(operator))
        gate.set(mode)
        firmware.wait_for(says, timeout=60)
        time.sleep(STALL_S)
        gate.set(OPEN)
        # What was measured meanwhile comes as soon as there is a connection.
        due = before + int(STALL_S)
        wait_until(lambda due=due: len(samples(operator)) > due, 120, f"{mode}: {samples(operator)}")
    assert gate.blocked > 0
    taken = samples(operator)
    numbers = [seq for seq, *_ in taken]
    print(f"{len(taken)} samples at {1000 / PERIOD_MS} Hz, three times {STALL_S} s of them without a network; none missing")
    assert numbers == list(range(len(numbers)))
    assert {lost for *_, lost in taken} == {0}
    # At their times: no two further apart than the period and what a flash write takes. The clock may have been set once more.
    apart = [later[1] - earlier[1] for earlier, later in zip(taken, taken[1:])]
    assert all(abs(gap - PERIOD_MS) < PERIOD_MS / 4 for gap in apart), apart
    state = operator.wait_for(STATE, lambda state: state["uptime_s"] > 0, timeout=90)
    assert (state["lost"], state["missed"], state["boot"]) == (0, 0, 1)


def test_a_network_thread_that_hangs_ends_in_a_restart_that_keeps_what_was_measured(bench):
    # Not connected: native_sim's time stands still while a socket has data that nobody reads.
    bench.start_time_server().silent = True
    operator = bench.start_broker()
    firmware = bench.enrol()
    firmware.command_line("device hang_network")
    firmware.wait_for("the network's thread hangs: the device restarts", timeout=120)
    firmware.wait_for("boot 2, configuration 7", timeout=60)
    bench.time_server.silent = False
    hello = operator.wait_for(f"device/{DEVICE}/hello", timeout=120)
    assert (hello["boot"], hello["previous"]["boot"]) == (2, 1)
    expected = set(range(hello["previous"]["next_seq"]))

    def first_boot() -> set[int]:
        batches = map(json.loads, operator.said(TELEMETRY))
        return {batch["seq"] + index for batch in batches if batch["boot"] == 1 for index in range(len(batch["s"]))}

    wait_until(lambda: first_boot() == expected, 60, "not all samples of the first boot come")
    # Five a second, for as long as such a thread is waited for.
    assert len(expected) > 5 * 10


@pytest.mark.parametrize("mode", [DROPS, STALLS])
def test_an_orderly_restart_does_not_wait_for_a_connection_that_is_being_made(bench, mode):
    bench.start_time_server()
    bench.start_broker()
    gate = bench.keep(Gate(mode))
    firmware = bench.enrol(port=gate.port)
    # The attempt begins once the clock is set, and lasts.
    firmware.wait_for("clock set to")
    firmware.wait_for("not connected: .*connect_timeout", timeout=60)
    asked = time.monotonic()
    firmware.command_line("device restart")
    firmware.wait_for("boot 2, configuration 7", timeout=60)
    print(f"restarted {time.monotonic() - asked:.1f} s after it was asked to")
