"""A service that speaks MQTT badly, with the list of cases of all ports, and one that takes its time. R-DATA-INTACT, R-TLS-SERVER."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
from pathlib import Path

import pytest
from bench import DEVICE
from script import CONNACK, CONNECT, Connection, Service

CASES = Path(__file__).resolve().parents[3] / "crates/simulator/tests/hostile_broker.json"
COMMAND = f"device/{DEVICE}/command"
GOOD = "a document from the service was refused: .*malformed"


def packet(case: dict, connection: Connection) -> bytes:
    """The bytes of a case; crates/simulator/tests/hostile_broker.rs says how they are written."""
    topics = len(connection.topics)
    out = b""
    for word in case.get("send", "").split():
        word = word.replace("@topics", str(topics)).replace("@codes-length", f"{2 + topics:02x}")
        if word == "@subscribe":
            out += connection.subscribe
            continue
        byte, _, times = word.partition("*")
        out += bytes([int(byte, 16)]) * int(times or 1)
    return out


def say(case: dict, connection: Connection) -> None:
    if message := case.get("publish"):
        topic = COMMAND if message["topic"] == "@command" else message["topic"] * message.get("times", 1)
        connection.publish(topic.encode(), b"x" * message["payload"], message.get("id"))
    else:
        connection.send(packet(case, connection))


def service(bench):
    bench.start_time_server()
    # Of the bench only the authority and the time are needed.
    return bench.keep(Service(bench.folder / "service", bench.authority.server()))


def quiet_device(bench):
    """A connected device that has nothing to say for a while: nothing can be answered in the middle of a message."""
    peer = service(bench)
    firmware = bench.enrol(port=peer.port, keep_alive_s=60, sample_period_ms=60_000, report_period_ms=60_000)
    connection = peer.accept()
    connection.send(CONNACK)
    connection.accept_subscriptions()
    until = time.monotonic() + 3
    connection.serve_until(lambda: time.monotonic() > until)
    return firmware, peer, connection


def test_what_breaks_the_form_ends_the_connection_by_name_and_what_is_odd_is_passed_over(bench):
    cases = json.loads(CASES.read_text())
    assert len(cases) > 40
    peer = service(bench)
    firmware = bench.enrol(port=peer.port)
    wrong = []
    for case in cases:
        connection = peer.accept()
        connection.expect(CONNECT)
        start = len(firmware.text)
        if case["at"] == "connack":
            say(case, connection)
        else:
            connection.send(CONNACK)
            if case["at"] == "suback":
                connection.expect(0x80)
            else:
                connection.accept_subscriptions()
            say(case, connection)
        ids = [*case.get("acknowledged", []), *([case["publish"]["id"]] if case.get("publish", {}).get("id") else [])]
        try:
            if case["verdict"] == "stays":
                # A good message behind it is read, and everything with an identifier is acknowledged.
                connection.publish(COMMAND.encode(), b"good", 0x77)
                connection.serve_until(lambda: 0x77 in connection.acknowledged)
                firmware.wait_for(GOOD)
                assert set(ids) <= set(connection.acknowledged), connection.acknowledged
            else:
                with contextlib.suppress(ConnectionError, ssl.SSLError, OSError):
                    connection.serve_until(lambda: False)
                firmware.wait_for(rf"\({case['verdict']}\)", timeout=30)
        except AssertionError as error:
            wrong.append((case["name"], str(error)[:200], firmware.text[start:]))
            firmware.searched = len(firmware.text)
        connection.close()
    assert not wrong, wrong


def test_a_message_of_16_megabytes_in_records_of_16_kilobytes_is_passed_over(bench):
    peer = service(bench)
    firmware = bench.enrol(port=peer.port)
    connection = peer.accept()
    connection.send(CONNACK)
    connection.accept_subscriptions()
    connection.publish(COMMAND.encode(), b"x" * (1 << 24), 7)
    connection.publish(COMMAND.encode(), b"good", 8)
    connection.serve_until(lambda: connection.acknowledged == [7, 8], timeout=240)
    firmware.wait_for(f"a message of {1 << 24} bytes on {COMMAND} is dropped")
    firmware.wait_for(GOOD)


def test_a_message_that_drips_neither_holds_the_loop_nor_ends_the_connection(bench):
    firmware, _, connection = quiet_device(bench)
    begun = time.monotonic()
    # Longer than the watchdog's 12 s.
    for byte in bytes([0x30, 2 + len(COMMAND) + 20, 0, len(COMMAND)]) + COMMAND.encode() + b"x" * 20:
        connection.send(bytes([byte]))
        time.sleep(0.4)
    assert time.monotonic() - begun > 15
    firmware.wait_for(GOOD)
    assert "boot 2" not in firmware.text and "not connected" not in firmware.text


def test_a_message_that_stands_still_ends_the_connection_and_not_the_device(bench):
    firmware, peer, connection = quiet_device(bench)
    connection.send(b"\x30\x05\0")
    with contextlib.suppress(ConnectionError, ssl.SSLError, OSError):
        connection.serve_until(lambda: False)
    firmware.wait_for(r"\(link_lost\)")
    peer.accept().close()
    assert "boot 2" not in firmware.text


@pytest.mark.parametrize("drip", [False, True], ids=["stands_still", "drips"])
def test_a_service_that_takes_nothing_does_not_bring_the_watchdog_down(bench, drip):
    bench.start_time_server()
    peer = bench.keep(Service(bench.folder / "service", bench.authority.server(), receive_buffer=2048))
    # A batch each 400 ms, and none of them is taken.
    firmware = bench.enrol(port=peer.port)
    connection = peer.accept()
    connection.send(CONNACK)
    connection.accept_subscriptions()
    ended = time.monotonic() + 40
    raw = socket.socket(fileno=connection.tls.detach())
    raw.settimeout(1)
    with contextlib.suppress(OSError):
        while time.monotonic() < ended and "not connected" not in firmware.text and r"(link_lost)" not in firmware.text:
            if drip:
                raw.recv(1)
            time.sleep(0.2)
    firmware.wait_for(r"\((link_lost|ack_timeout|keep_alive)\)", timeout=40)
    raw.close()
    peer.accept().close()
    assert "boot 2" not in firmware.text
