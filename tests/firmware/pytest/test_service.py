"""The firmware with a service that is as it should be: values, restarts, losses. R-DATA-INTACT, R-CONF, R-TIME."""

from __future__ import annotations

import pytest
from bench import DEVICE
from time_server import TimeServer

HELLO, STATE, TELEMETRY = (f"device/{DEVICE}/{channel}" for channel in ("hello", "state", "telemetry"))
FIVE_YEARS = 5 * 365 * 86_400


def sequence(batch: dict) -> list[tuple[int, int]]:
    """Boot and sequence number of every sample of a batch."""
    return [(batch["boot"], batch["seq"] + index) for index in range(len(batch["s"]))]


def test_it_connects_with_mutual_tls_and_reports_what_the_sensor_measures(bench):
    bench.start_time_server()
    operator = bench.start_broker()
    bench.enrol("--bme280=21.50,45.12,99325").wait_for("connected to the service")
    hello = operator.wait_for(HELLO)
    # Mosquitto takes the topic from a client with this certificate only: brokers/mosquitto/acl.
    assert (hello["id"], hello["board"], hello["boot"], hello["connection"]) == (DEVICE, "native_sim", 1, 1)
    state = operator.wait_for(STATE)
    assert (state["config"], state["clock"], state["sensor_faults"], state["lost"]) == (7, "synchronised", 0, 0)
    batch = operator.wait_for(TELEMETRY, lambda batch: len(batch["s"]) > 1)
    for _, temperature, humidity, pressure in batch["s"]:
        # The sensor's own resolution: 0.01 degC, 0.008 %RH, 0.18 Pa.
        assert abs(temperature - 2150) <= 1
        assert abs(humidity - 4512) <= 2
        assert abs(pressure - 99_325) <= 1


def test_no_sample_is_missing_and_none_comes_twice(bench):
    bench.start_time_server()
    operator = bench.start_broker()
    bench.enrol()
    samples = []
    while len(samples) < 30:
        samples += sequence(operator.wait_for(TELEMETRY))
    assert samples == [(1, index) for index in range(len(samples))]


def test_settings_survive_an_orderly_restart_and_a_power_cut(bench):
    bench.start_time_server()
    operator = bench.start_broker()
    firmware = bench.enrol()
    operator.wait_for(HELLO, lambda hello: hello["boot"] == 1)
    operator.wait_for(TELEMETRY)

    firmware.command_line("device restart")
    firmware.wait_for("boot 2, configuration 7")
    hello = operator.wait_for(HELLO, lambda hello: hello["boot"] == 2)
    assert hello["reset"] == "software"
    assert hello["previous"]["boot"] == 1 and hello["previous"]["next_seq"] > 0
    # By then the service has acknowledged it, and it is told once.
    operator.wait_for(TELEMETRY, lambda batch: batch["boot"] == 2 and batch["seq"] > 5)

    firmware.kill()
    again = bench.run()
    again.wait_for("boot 3, configuration 7")
    hello = operator.wait_for(HELLO, lambda hello: hello["boot"] == 3)
    assert hello["reset"] == "power_on"
    # Nobody knows how a boot ended that was cut.
    assert hello["previous"] is None


def test_samples_that_were_not_delivered_survive_a_restart(bench):
    bench.start_time_server()
    operator = bench.start_broker()
    firmware = bench.enrol()
    samples = sequence(operator.wait_for(TELEMETRY))
    bench.broker.suspend()
    firmware.wait_for("not connected: .*", timeout=60)
    firmware.command_line("device restart")
    firmware.wait_for("boot 2, configuration 7")
    bench.broker.resume()
    operator = bench.start_operator()
    while samples[-1] < (2, 3):
        for sample in sequence(operator.wait_for(TELEMETRY)):
            # What was on its way when the link broke may come twice, and is known by its number.
            if sample not in samples:
                samples.append(sample)
    first_boot = [sample for sample in samples if sample[0] == 1]
    assert first_boot == [(1, index) for index in range(len(first_boot))]
    hello = operator.hellos[-1]
    assert hello["previous"] == {"boot": 1, "next_seq": len(first_boot)}


def test_the_clock_follows_the_time_server(bench):
    server = bench.start_time_server(FIVE_YEARS)
    operator = bench.start_broker()
    bench.enrol().wait_for("clock set to 2031-")
    state = operator.wait_for(STATE)
    assert abs(state["t"] / 1000 - server.now()) < 2
    batch = operator.wait_for(TELEMETRY, lambda batch: batch["seq"] > 5)
    assert abs(batch["t"] / 1000 - server.now()) < 5


def test_a_time_server_of_version_3_is_believed(bench):
    server = bench.start_time_server(FIVE_YEARS)
    server.version = 3
    bench.start_broker()
    firmware = bench.enrol()
    firmware.wait_for("clock set to 2031-")
    firmware.wait_for("connected to the service")


def test_two_time_servers_that_differ_by_less_than_a_second_are_believed(bench):
    server, other = bench.start_time_server(FIVE_YEARS), bench.keep(TimeServer(FIVE_YEARS + 0.8))
    bench.start_broker()
    firmware = bench.enrol(time_servers=[f"127.0.0.1:{each.port}" for each in (server, other)])
    firmware.wait_for("clock set to 2031-")
    firmware.wait_for("connected to the service")


def test_it_does_not_connect_before_it_knows_the_time(bench):
    server = bench.start_time_server()
    server.silent = True
    bench.start_broker()
    firmware = bench.enrol()
    server.wait_for_requests(1, timeout=60)
    assert "New connection from 127.0.0.1" not in bench.broker.log_of_device()
    server.silent = False
    # It asks again, 16 s after the first time at the earliest.
    firmware.wait_for("connected to the service", timeout=90)


def test_a_message_that_is_no_document_is_refused_and_costs_no_connection(bench):
    # Longer ones than the broker lets through: test_hostile_service.py.
    bench.start_time_server()
    operator = bench.start_broker()
    firmware = bench.enrol()
    operator.wait_for(TELEMETRY)
    for payload in (b"{}", b"y" * 3500):
        operator.publish(f"device/{DEVICE}/command", payload)
        firmware.wait_for("a document from the service was refused: .*malformed")
    operator.wait_for(TELEMETRY)
    assert len(operator.hellos) == 1


def test_a_quiet_device_keeps_its_connection_alive(bench):
    bench.start_time_server()
    operator = bench.start_broker()
    bench.enrol(keep_alive_s=5, sample_period_ms=60_000, report_period_ms=60_000)
    operator.wait_for(HELLO)
    bench.broker.wait_for_log(f"Sending PINGRESP to {DEVICE}")
    assert len(operator.hellos) == 1


@pytest.mark.parametrize("defect", ["no-answer", "bad-id", "stuck-busy"])
def test_a_broken_sensor_is_reported_as_a_fault_and_never_as_a_value(bench, defect):
    bench.start_time_server()
    operator = bench.start_broker()
    bench.enrol(f"--bme280-fault={defect}")
    batch = operator.wait_for(TELEMETRY)
    assert [sample[1:] for sample in batch["s"]] == [[None, "not_ready"]] * len(batch["s"])


def test_the_watchdog_ends_a_device_that_hangs(bench):
    # Not connected: native_sim's time stands still while a socket has data that nobody reads.
    bench.start_time_server().silent = True
    bench.start_broker()
    firmware = bench.enrol()
    firmware.command_line("device hang")
    firmware.wait_for("boot 2, configuration 7", timeout=60)


def test_a_device_that_panics_starts_again(bench):
    bench.start_time_server().silent = True
    bench.start_broker()
    firmware = bench.enrol()
    firmware.command_line("device panic")
    firmware.wait_for("the device restarts")
    firmware.wait_for("boot 2, configuration 7", timeout=60)
