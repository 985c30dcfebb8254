"""A certificate that ended while the device lay on a shelf: a new one over the factory's line, and what is none. R-SECRET-ROTATE,
R-REPROVISION, R-AUTHORITY."""

from __future__ import annotations

import datetime

from authority import UTC, Authority
from bench import DEVICE, Bench
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from factory import Factory, Line, key_id, read_cbor
from test_identity import IN_FORCE, life

__all__ = ["life"]

DAY = datetime.timedelta(days=1)
YESTERDAY = datetime.datetime.now(UTC) - DAY
ENDED = "the device's certificate ended on"
# Of docs/protocol.md.
NOT_ENDED, DOCUMENT = 9, 8


def seconds() -> int:
    return int(datetime.datetime.now(UTC).timestamp())


class Renewal:
    """What the device asks for on its line."""

    def __init__(self, line: Line) -> None:
        number, answer = line.ask([6, {1: seconds()}])
        assert number == 6, answer
        self.signed = answer[1]
        sealed, _ = read_cbor(self.signed)
        self.content, _ = read_cbor(sealed.value[2])
        self.identity, self.tls = (x509.load_der_x509_csr(self.content[at]) for at in (3, 4))
        self.keys = [key_id(request.public_key()) for request in (self.identity, self.tls)]

    def document(self, authority: Authority, end=None, **changes) -> dict:
        """The certificate that it asks for; `changes` are what a near-miss has otherwise."""
        leaf = authority.client_of(changes.get("tls", self.tls), *([end] if end else []))
        return {
            1: [1, changes.get("device", DEVICE)], 2: self.content[2] + 1,
            3: key_id(changes.get("identity", self.identity).public_key()), 4: [leaf.public_bytes(Encoding.DER)],
        }  # fmt: skip


def stranger() -> x509.CertificateSigningRequest:
    """A request for a key that is not the device's."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, DEVICE)])
    key = ec.generate_private_key(ec.SECP256R1())
    return x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())


def locked_out(bench: Bench):
    """A device whose certificate has ended, and its line."""
    bench.start_time_server()
    operator = bench.start_broker()
    firmware = bench.enrol(end=YESTERDAY)
    firmware.wait_for(ENDED)
    assert "connected to the service" not in firmware.text
    return firmware, bench.keep(Line(firmware.factory_line_path())), operator


def test_a_device_whose_certificate_has_ended_gets_a_new_one_over_its_line_and_near_misses_are_refused(bench):
    firmware, line, operator = locked_out(bench)
    number, identity = line.ask([1, {1: 1}])
    assert (number, identity[2], identity[8]) == (1, 2, int(YESTERDAY.timestamp()))
    asked = Renewal(line)
    protected = read_cbor(asked.signed)[0].value[0]
    assert read_cbor(protected)[0][4] == key_id(bench.identity_key), "it is signed with the identity key"

    elsewhere = bench.folder / "another factory"
    elsewhere.mkdir()
    ours, theirs = bench.factory, Factory(elsewhere)
    good = asked.document(bench.authority)
    certificate = lambda factory, document, power="configuration": factory.signed(power, "certificate", document)  # noqa: E731
    torn = bytearray(certificate(ours, good))
    torn[-1] ^= 1
    for document, why in (
        (certificate(theirs, good), "unknown_key"),
        (certificate(ours, good, "factory"), "wrong_authority"),
        (certificate(ours, good, "anchors"), "wrong_authority"),
        (certificate(ours, good, "firmware"), "wrong_authority"),
        (certificate(ours, asked.document(bench.authority, device="dev-2")), "other_device"),
        (certificate(ours, asked.document(bench.authority, tls=stranger())), "certificate"),
        (certificate(ours, asked.document(bench.authority, identity=stranger())), "unexpected"),
        (certificate(ours, asked.document(bench.authority, end=YESTERDAY)), "certificate"),
        (certificate(ours, good | {2: asked.content[2]}), "replayed"),
        (bytes(torn), "signature"),
        (ours.signed("configuration", "rollout", good), "content_type"),
        (b"nonsense", "malformed"),
    ):
        assert Renewal(line).keys == asked.keys, "it asks for the same keys however often it is asked"
        number, refused = line.deliver(document)
        assert (number, refused[1][0]) == (5, DOCUMENT), (why, refused)
        assert refused[1][1][1] == why, refused

    Renewal(line)
    number, done = line.deliver(certificate(ours, good))
    new = key_id(asked.identity.public_key())
    assert (number, done[1]) == (4, new), done
    assert firmware.wait_for(IN_FORCE, timeout=60)[1] == new.hex()[:16]
    operator.wait_for(f"device/{DEVICE}/hello")
    # Over the line there is nothing more to get.
    assert line.ask([6, {1: seconds()}]) == [5, {1: [NOT_ENDED, {}]}]


def test_a_device_whose_certificate_has_not_ended_takes_none_from_its_line(bench):
    bench.start_time_server()
    bench.start_broker()
    firmware = bench.enrol()
    firmware.wait_for("connected to the service")
    line = bench.keep(Line(firmware.factory_line_path()))
    # What its clock says counts, whatever it is told.
    for now in (0, seconds(), seconds() + 100 * 366 * 86_400):
        assert line.ask([6, {1: now}]) == [5, {1: [NOT_ENDED, {}]}]


def test_the_tool_renews_an_ended_certificate_over_the_line_and_no_other(life):
    renew = (
        "renew", "--ca", life.operations.ca, "--authority", life.operations.powers, "--registry", life.operations.registry, "--line",
    )  # fmt: skip
    firmware = life.run()
    life.provision(firmware, "--days", "30")
    firmware.wait_for("connected to the service")
    said = life.operations.sensorctl(*renew, firmware.factory_line_path(), code=1)
    assert "has not ended" in said, said
    firmware.kill()

    life.bench.time_server.offset_s = 40 * DAY.total_seconds()
    firmware = life.run()
    firmware.wait_for(ENDED)
    life.operations.sensorctl(*renew, firmware.factory_line_path())
    new = firmware.wait_for(IN_FORCE, timeout=60)[1]
    assert [line["key_id"][:16] for line in life.registered()][1:] == [new]
