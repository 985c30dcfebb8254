"""The security log in its own flash partition: kept over restarts and power cuts, delivered signed, and verified. R-LOG."""

from __future__ import annotations

import time

import pytest
from bench import DEVICE
from control import REPORT, send_log
from security_log import BOOT, COMMANDED, CONFIGURED, LOST, PROVISIONED, Record, missing, read_pieces
from tools import Operations

LOG, STATE = (f"device/{DEVICE}/{channel}" for channel in ("log", "state"))
# boards/native_sim_native_64.overlay
LOG_BEGIN, LOG_END = 0x107000, 0x107000 + 0x10000


class Log:
    """What an operator has of the log of the bench's device."""

    def __init__(self, bench) -> None:
        self.bench = bench
        bench.start_time_server()
        self.operator = bench.start_broker()
        self.control = bench.keep(bench.start_control())
        # What came to former operators, and what counts no more of what came to this one.
        self.before: list[bytes] = []
        self.forgotten = 0

    def pieces(self) -> list[bytes]:
        return self.before + self.operator.said(LOG)[self.forgotten :]

    def forget(self) -> None:
        """Only what comes from now on counts."""
        self.before, self.forgotten = [], len(self.operator.said(LOG))

    def change_operator(self) -> None:
        """After the broker was away."""
        self.before, self.forgotten = self.pieces(), 0
        self.operator = self.bench.start_operator()

    def records(self) -> list[Record]:
        return read_pieces(self.pieces(), DEVICE, self.bench.identity_key)

    def wait_for(self, holds, timeout: float = 30) -> list[Record]:
        """Waits until what has come is verified and `holds`."""
        deadline = time.monotonic() + timeout
        while not holds(records := self.records()):
            assert time.monotonic() < deadline, f"there is only {records}"
            time.sleep(0.2)
        return records

    def partition(self) -> bytes:
        return self.flash()[LOG_BEGIN:LOG_END]

    def flash(self) -> bytes:
        return (self.bench.folder / "flash.bin").read_bytes()


@pytest.fixture
def log(bench):
    return Log(bench)


def boots(records: list[Record]) -> list[int]:
    return [record.boot for record in records if record.event == BOOT]


def test_the_log_is_kept_over_restarts_in_its_own_partition_and_delivered(log):
    firmware = log.bench.enrol()
    records = log.wait_for(lambda records: 1 in boots(records))
    assert (records[0].sequence, records[0].event) == (0, PROVISIONED)
    log.control.configure(8, sample_period_ms=500, report_period_ms=1000)
    log.wait_for(lambda records: any(record.event == CONFIGURED for record in records))
    firmware.command_line("device restart")
    firmware.wait_for("boot 2, configuration 8")
    firmware.wait_for("clock set to")
    firmware.kill()
    firmware = log.bench.run()
    firmware.wait_for("boot 3, configuration 8")
    records = log.wait_for(lambda records: boots(records) == [1, 2, 3])
    assert not missing(records)
    # It lies where nothing else does, and nowhere else.
    firmware.kill()
    hashes = [record.hash for record in records]
    kept, flash = log.partition(), log.flash()
    assert all(kept.count(digest) >= 1 for digest in hashes)
    outside = flash[:LOG_BEGIN] + flash[LOG_END:]
    assert not [digest for digest in hashes[:-1] if digest in outside]


def test_what_happens_offline_is_delivered_later_without_a_gap(log):
    firmware = log.bench.enrol()
    log.wait_for(lambda records: 1 in boots(records))
    log.bench.broker.suspend()
    firmware.wait_for("not connected: .*", timeout=60)
    for boot in (2, 3, 4):
        firmware.kill()
        firmware = log.bench.run()
        firmware.wait_for(f"boot {boot}, configuration 7")
        # The start is recorded before anything else happens.
        firmware.wait_for("clock set to")
    log.bench.broker.resume()
    log.change_operator()
    records = log.wait_for(lambda records: boots(records) == [1, 2, 3, 4], timeout=60)
    assert not missing(records)


def test_what_the_operator_has_is_not_delivered_again(log):
    firmware = log.bench.enrol()
    log.wait_for(lambda records: 1 in boots(records))
    last = log.records()[-1]
    log.control.acknowledge(last.sequence, last.hash)
    log.control.command(1, REPORT)
    log.wait_for(lambda records: any(record.event == COMMANDED for record in records))
    firmware.command_line("device restart")
    firmware.wait_for("boot 2, configuration 7")
    log.forget()
    records = log.wait_for(lambda records: 2 in boots(records))
    assert records[0].sequence > last.sequence
    # It is still there, and comes when it is asked for.
    log.forget()
    log.control.command(2, send_log(0))
    records = log.wait_for(lambda records: records and records[0].sequence == 0)
    assert boots(records)[0] == 1


def test_an_acknowledgement_of_a_record_that_the_device_does_not_have_is_refused(log):
    firmware = log.bench.enrol()
    log.wait_for(lambda records: 1 in boots(records))
    last = log.records()[-1]
    log.control.acknowledge(last.sequence, bytes(32))
    firmware.wait_for("a document from the service was refused: .*chain")
    waiting = log.operator.wait_for(STATE, timeout=70)
    assert waiting["log_waiting"] > 0


def test_damaged_flash_costs_what_lay_there_and_the_log_says_how_much(log):
    firmware = log.bench.enrol()
    records = log.wait_for(lambda records: 1 in boots(records) and len(records) >= 4)
    firmware.kill()
    flash = bytearray(log.flash())
    flash[flash.index(records[1].hash, LOG_BEGIN, LOG_END)] ^= 0xFF
    (log.bench.folder / "flash.bin").write_bytes(flash)
    log.forget()
    log.bench.run().wait_for("boot 2, configuration 7")
    records = log.wait_for(lambda records: 2 in boots(records) and any(record.event == LOST for record in records))
    (first, count) = next(record.details for record in records if record.event == LOST)
    assert 1 in missing(records) and missing(records) == set(range(first, first + count)), records


def test_the_projects_tool_takes_the_log_verifies_it_and_finds_what_is_altered(bench):
    bench.start_time_server()
    operations = Operations(bench.folder, bench.keep)
    bench.factory.public_file = operations.powers / "factory.pub"
    store = bench.folder / "logs"
    firmware = bench.run()
    line = firmware.factory_line_path()
    firmware.wait_for("the device is blank")
    operations.provision(line, DEVICE, bench.time_server.port)
    follow = operations.follow_log(store)
    firmware.wait_for("boot 1, configuration 1")
    follow.wait_for(r'"boot":1,')
    firmware.command_line("device restart")
    firmware.wait_for("boot 2, configuration 1")
    follow.wait_for(r'"boot":2,')
    firmware.kill()
    bench.run().wait_for("boot 3, configuration 1")
    follow.wait_for(r'"boot":3,')
    verify = ("log", "verify", "--registry", operations.registry, "--authority", operations.powers)
    assert "whole and proven" in operations.sensorctl(*verify, store)
    (log,) = store.glob("*.log")
    altered = bench.folder / f"{DEVICE}.log"
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 1
    altered.write_bytes(data)
    assert "first bad: record " in operations.sensorctl(*verify, altered, code=3)
