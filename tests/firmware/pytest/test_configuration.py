"""A device whose configuration is changed over MQTT: what fits counts at once, what cannot reach the service is undone by itself.
R-CONF, R-NET-CONFIG."""

from __future__ import annotations

import statistics

import pytest
from bench import DEVICE, GROUP
from broker import free_port

CONFIG_STATE, HELLO, STATE, TELEMETRY = (
    f"device/{DEVICE}/{channel}" for channel in ("config/state", "hello", "state", "telemetry")
)
# tests/firmware/test.conf
TRIAL_S = 10


@pytest.fixture
def service(bench):
    """An operator who listens and one who wants something."""
    bench.start_time_server()
    operator = bench.start_broker()
    return operator, bench.keep(bench.start_control())


def in_force(operator, timeout: float = 30, **fields) -> dict:
    """Waits until these values are in force."""
    return operator.wait_for(CONFIG_STATE, lambda state: fields.items() <= state["values"].items(), timeout)


def refused(operator, number: int, why: str, timeout: float = 30) -> dict:
    """Waits until the change with this number was refused or undone."""

    def matches(state: dict) -> bool:
        return state["last"] is not None and (state["last"]["number"], state["last"]["why"]) == (number, why)

    return operator.wait_for(CONFIG_STATE, matches, timeout)


def wait_for_period(operator, period_ms: int) -> None:
    """Waits for a batch whose samples lie so far apart."""

    def matches(batch: dict) -> bool:
        at = [sample[0] for sample in batch["s"]]
        between = [after - before for before, after in zip(at, at[1:])]
        # One may come late where the machine is busy.
        return bool(between) and abs(statistics.median(between) - period_ms) <= period_ms / 10

    operator.wait_for(TELEMETRY, matches)


def test_a_new_sampling_period_counts_at_once_and_stays_over_restarts(bench, service):
    operator, control = service
    firmware = bench.enrol()
    wait_for_period(operator, 200)
    control.configure(8, sample_period_ms=500, report_period_ms=1500)
    state = in_force(operator, sample_period_ms=500, report_period_ms=1500)
    assert (state["device"]["number"], state["group"], state["last"]) == (8, None, None)
    wait_for_period(operator, 500)
    # Without a new connection.
    assert len(operator.hellos) == 1

    firmware.command_line("device restart")
    firmware.wait_for("boot 2, configuration 8")
    in_force(operator, sample_period_ms=500)
    wait_for_period(operator, 500)
    firmware.kill()
    bench.run().wait_for("boot 3, configuration 8")
    # The same document comes again each time, and is nothing new.
    assert operator.wait_for(CONFIG_STATE)["refused"] == 0


def test_the_devices_own_change_counts_more_than_its_groups(bench, service):
    operator, control = service
    bench.enrol()
    control.configure(1, group=GROUP, sample_period_ms=500, report_period_ms=2000)
    state = in_force(operator, sample_period_ms=500, report_period_ms=2000)
    assert (state["group"]["number"], state["device"]) == (1, None)
    control.configure(8, sample_period_ms=250)
    in_force(operator, sample_period_ms=250, report_period_ms=2000)
    control.configure(2, group=GROUP, sample_period_ms=1000, report_period_ms=3000)
    state = in_force(operator, sample_period_ms=250, report_period_ms=3000)
    assert (state["group"]["number"], state["device"]["number"]) == (2, 8)
    state = operator.wait_for(STATE, lambda state: state["group_config"] == 2, timeout=70)
    assert state["config"] == 8


# A change, and what the device says to it.
UNFIT = {
    "unknown_field": ({"sample_perod_ms": 500}, "sample_perod_ms"),
    "out_of_bounds": ({"keep_alive_s": 4}, "keep_alive_s"),
    "dependency": ({"sample_period_ms": 60_000}, "report_period_ms"),
}


@pytest.mark.parametrize(("fields", "words"), UNFIT.values(), ids=UNFIT)
def test_what_does_not_fit_is_refused_by_name_and_changes_nothing(bench, service, fields, words):
    operator, control = service
    bench.enrol()
    before = operator.wait_for(CONFIG_STATE)["values"]
    control.configure(8, **fields)
    state = operator.wait_for(CONFIG_STATE, lambda state: state["last"] is not None)
    assert state["last"]["why"] == "configuration" and words in state["last"]["text"], state
    assert (state["values"], state["refused"]) == (before, 1)
    # The next good one is taken.
    control.configure(9, sample_period_ms=300)
    in_force(operator, sample_period_ms=300)


def test_an_older_document_is_not_taken_again(bench, service):
    operator, control = service
    bench.enrol()
    first = control.configure(8, sample_period_ms=500, report_period_ms=1000)
    in_force(operator, sample_period_ms=500)
    control.configure(9, sample_period_ms=250)
    in_force(operator, sample_period_ms=250)
    control.publish("config", f"device/{DEVICE}/config/desired", first)
    assert refused(operator, 8, "older")["values"]["sample_period_ms"] == 250


def test_another_content_under_a_used_number_is_not_taken(bench, service):
    operator, control = service
    bench.enrol()
    control.configure(8, sample_period_ms=250)
    in_force(operator, sample_period_ms=250)
    control.configure(8, sample_period_ms=100)
    state = refused(operator, 8, "replayed")
    assert (state["replayed"], state["values"]["sample_period_ms"]) == (1, 250)


# What cannot be reached, and why, as the device says it.
UNREACHABLE = {
    "no_such_host": (lambda bench: {"host": "no-such-host.invalid"}, "dns"),
    "no_such_port": (lambda bench: {"port": free_port()}, "refused"),
    "another_name_in_the_certificate": (lambda bench: {"host": "127.0.0.1"}, "tls_name"),
    "dead_time_server": (lambda bench: {"time_servers": [f"127.0.0.1:{free_port()}"]}, None),
}


@pytest.mark.parametrize(("make", "failure"), UNREACHABLE.values(), ids=UNREACHABLE)
def test_what_cannot_be_reached_is_undone_by_itself(bench, make, failure):
    bench.start_time_server()
    operator = bench.start_broker(bench.authority.server(names=("localhost",)))
    control = bench.keep(bench.start_control())
    firmware = bench.enrol()
    before = operator.wait_for(CONFIG_STATE)["values"]
    control.configure(8, **make(bench))
    state = refused(operator, 8, "undone", timeout=3 * TRIAL_S)
    assert state["last"]["failure"] == failure
    assert (state["values"], state["device"], state["trial"]) == (before, None, None)
    operator.wait_for(TELEMETRY)
    # The number is used up, over a restart too.
    firmware.kill()
    firmware = bench.run()
    firmware.wait_for("boot 2, configuration 7")
    operator.wait_for(TELEMETRY, lambda batch: batch["boot"] == 2 and batch["seq"] > 20)
    control.configure(9, sample_period_ms=500, report_period_ms=1000)
    in_force(operator, sample_period_ms=500)


def test_the_power_goes_while_a_host_is_tried_that_is_not_there(bench, service):
    operator, control = service
    firmware = bench.enrol()
    before = operator.wait_for(CONFIG_STATE)["values"]
    control.configure(8, port=free_port())
    firmware.wait_for("not connected: .*refused")
    firmware.kill()
    bench.run()
    state = refused(operator, 8, "undone", timeout=4 * TRIAL_S)
    assert state["values"] == before


def test_another_host_is_taken_when_the_service_is_reached_there(bench, service):
    operator, control = service
    firmware = bench.enrol()
    operator.wait_for(HELLO)
    control.configure(8, host="127.0.0.1")
    state = in_force(operator, host="127.0.0.1")
    assert (state["device"]["number"], state["trial"], state["last"]) == (8, None, None)
    assert operator.hellos[-1]["connection"] == 2
    # Longer than the trial would have lasted: it stays.
    operator.wait_for(TELEMETRY, lambda batch: batch["seq"] > (TRIAL_S + 2) * 5, timeout=60)
    assert len(operator.hellos) == 2
    firmware.kill()
    bench.run().wait_for("boot 2, configuration 8")
    in_force(operator, host="127.0.0.1")
