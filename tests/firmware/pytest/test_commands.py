"""Commands over MQTT: each is answered by its name and done once, whatever happens in between. R-CONF."""

from __future__ import annotations

import json

import pytest
from bench import DEVICE
from control import REBOOT, REPORT, burst

ANSWER, HELLO, STATE, TELEMETRY = (
    f"device/{DEVICE}/{channel}" for channel in ("command/answer", "hello", "state", "telemetry")
)


@pytest.fixture
def service(bench):
    bench.start_time_server()
    operator = bench.start_broker()
    return operator, bench.keep(bench.start_control())


def answer(operator, number: int, outcome: str, timeout: float = 30) -> dict:
    return operator.wait_for(
        ANSWER, lambda said: (said["number"], said["outcome"]) == (number, outcome), timeout
    )


def test_report_sends_what_waits_now(bench, service):
    operator, control = service
    bench.enrol(sample_period_ms=1000, report_period_ms=3_600_000)
    operator.wait_for(HELLO)
    operator.wait_for(STATE)
    control.command(1, REPORT)
    batch = operator.wait_for(TELEMETRY)
    assert batch["s"]
    assert answer(operator, 1, "done")["action"] == "report"


def test_a_burst_is_taken_at_its_own_period_and_then_all_is_as_before(bench, service):
    operator, control = service
    bench.enrol(sample_period_ms=2000, report_period_ms=2000)
    operator.wait_for(TELEMETRY)
    control.command(1, burst(20, 200))
    assert answer(operator, 1, "done")["action"] == "burst"
    batches = [json.loads(said) for said in operator.said(TELEMETRY)]
    at = [batch["t"] + sample[0] for batch in batches for sample in batch["s"]]
    # One or the other may come late where the machine is busy.
    assert len([after for before, after in zip(at, at[1:]) if after - before <= 300]) >= 15, at
    quiet = operator.wait_for(TELEMETRY, lambda batch: len(batch["s"]) == 1)
    following = operator.wait_for(TELEMETRY, lambda batch: len(batch["s"]) == 1)
    assert abs(following["t"] - quiet["t"] - 2000) <= 100


def test_a_restart_is_done_once_though_the_command_stays_at_the_broker(bench, service):
    operator, control = service
    firmware = bench.enrol()
    operator.wait_for(HELLO)
    control.command(1, REBOOT)
    assert answer(operator, 1, "begun")["action"] == "reboot"
    firmware.wait_for("boot 2, configuration 7")
    answer(operator, 1, "done")
    assert operator.hellos[-1]["reset"] == "software"
    # The command comes again with the next connections, and nothing happens.
    firmware.kill()
    firmware = bench.run()
    firmware.wait_for("boot 3, configuration 7")
    operator.wait_for(TELEMETRY, lambda batch: batch["boot"] == 3 and batch["seq"] > 25)
    assert operator.hellos[-1]["boot"] == 3
    assert "boot 4" not in firmware.text
    control.command(2, REPORT)
    answer(operator, 2, "done")


def test_a_command_that_a_power_cut_interrupted_is_not_begun_again(bench, service):
    operator, control = service
    firmware = bench.enrol()
    operator.wait_for(HELLO)
    control.command(1, burst(100, 1000))
    answer(operator, 1, "begun")
    firmware.kill()
    bench.run()
    assert answer(operator, 1, "interrupted")["action"] == "burst"


def test_a_command_that_has_expired_is_not_begun(bench, service):
    operator, control = service
    firmware = bench.enrol()
    operator.wait_for(TELEMETRY)
    control.command(1, REBOOT, life_s=-1)
    assert answer(operator, 1, "refused")["refusal"] == "expired"
    operator.wait_for(TELEMETRY)
    assert "boot 2" not in firmware.text
