"""Services that the firmware must not talk to, each refused by name, by Zephyr's clock. R-TLS-SERVER, R-TLS-CIPHERS."""

from __future__ import annotations

import datetime
import ssl

import pytest
from authority import FAR_AHEAD, LONG_AGO, UTC, Authority
from bench import DEVICE
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from tls_peer import TlsPeer

NOW = datetime.datetime.now(UTC)
YEAR = datetime.timedelta(days=365)


def refused(firmware, name: str) -> None:
    firmware.wait_for(rf"not connected: .* \({name}\)", timeout=60)


def test_a_certificate_that_has_expired_by_the_devices_clock_is_refused(bench):
    # The host's clock says that it is valid.
    bench.start_time_server(offset_s=(3 * YEAR).total_seconds())
    bench.start_broker(bench.authority.server(begin=NOW - YEAR, end=NOW + YEAR))
    refused(bench.enrol(), "tls_expired")


def test_a_certificate_that_has_expired_by_the_hosts_clock_only_is_accepted(bench):
    bench.start_time_server(offset_s=-(2 * YEAR).total_seconds())
    bench.start_broker(bench.authority.server(begin=NOW - 3 * YEAR, end=NOW - YEAR))
    bench.enrol().wait_for("connected to the service")


def test_a_certificate_that_is_not_yet_valid_by_the_devices_clock_is_refused(bench):
    bench.start_time_server(offset_s=-(2 * YEAR).total_seconds())
    bench.start_broker(bench.authority.server(begin=NOW - YEAR, end=NOW + YEAR))
    refused(bench.enrol(), "tls_not_yet_valid")


def show_beside(bench, key):
    """Starts a service that shows a certificate of an authority with this key behind its own path."""
    server = bench.authority.server()
    write = server.write
    bench.start_time_server()

    def with_another(folder, name):
        write(folder, name)
        with (folder / f"{name}.crt").open("ab") as file:
            file.write(Authority("of another kind", key).identity.certificate.public_bytes(Encoding.PEM))

    server.write = with_another
    bench.start_broker(server)


def test_a_certificate_that_another_algorithm_signed_and_is_shown_beside_a_good_path_changes_nothing(bench):
    # As services do that are in the middle of a change of their authority. RSA is not built.
    show_beside(bench, rsa.generate_private_key(65537, 2048))
    bench.enrol().wait_for("connected to the service")


def test_a_key_that_no_port_reads_shown_beside_a_good_path_is_refused(bench):
    # The list of paths has the same verdict for all ports (p384-key-shown-too): only what another algorithm signed is passed over.
    show_beside(bench, ec.generate_private_key(ec.SECP384R1()))
    refused(bench.enrol(), "tls_algorithm")


def test_a_certificate_of_another_authority_is_refused(bench):
    bench.start_time_server()
    bench.start_broker()
    refused(bench.enrol(root=Authority("another authority")), "tls_unknown_issuer")


def test_a_self_signed_certificate_is_refused(bench):
    bench.start_time_server()
    bench.start_broker(Authority("localhost").identity)
    refused(bench.enrol(), "tls_self_signed")


@pytest.mark.parametrize(
    ("server", "name"),
    [
        ({"names": ("other.example",)}, "tls_name"),
        # RFC 9525: the common name, which says localhost, does not count.
        ({"alternative_names": False}, "tls_name"),
        ({"usage": ExtendedKeyUsageOID.CLIENT_AUTH}, "tls_usage"),
    ],
    ids=["another_host", "no_alternative_name", "a_client's_certificate"],
)
def test_a_certificate_for_something_else_is_refused(bench, server, name):
    bench.start_time_server()
    bench.start_broker(bench.authority.server(begin=LONG_AGO, end=FAR_AHEAD, **server))
    refused(bench.enrol(), name)


def test_an_address_in_the_certificate_is_as_good_as_a_name(bench):
    bench.start_time_server()
    bench.start_broker()
    bench.enrol(host="127.0.0.1").wait_for("connected to the service")


def test_a_service_that_does_not_know_the_devices_authority_is_reported(bench):
    bench.start_time_server()
    bench.start_broker(clients=Authority("another authority"))
    refused(bench.enrol(), "tls_client_rejected")


def test_a_service_that_is_not_there_is_reported(bench):
    bench.start_time_server()
    bench.start_broker()
    bench.broker.close()
    refused(bench.enrol(), "refused")


def test_a_host_without_an_address_is_reported(bench):
    bench.start_time_server()
    bench.start_broker()
    refused(bench.enrol(host="no-such-host.invalid"), "dns")


def test_a_missing_certificate_is_reported(bench):
    bench.start_time_server()
    bench.start_broker()
    firmware = bench.enrol()
    firmware.wait_for("connected to the service")
    firmware.command_line("settings delete sensor/chain/a")
    firmware.command_line("device restart")
    firmware.wait_for("the device's identity cannot be loaded: the stored value cannot be read any more")


VERSIONS = {
    "TLS1_3": (ssl.TLSVersion.TLSv1_3, "DEFAULT", "TLS_AES_128_GCM_SHA256"),
    "TLS1_2": (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
}


def test_the_one_version_and_cipher_suite_of_the_build_is_spoken(bench):
    (built,) = (version for version in VERSIONS if bench.has(f"CONFIG_MBEDTLS_SSL_PROTO_{version}=y"))
    version, ciphers, suite = VERSIONS[built]
    peer = bench.keep(TlsPeer(bench.folder / "peer", bench.authority, version, ciphers))
    bench.start_time_server()
    bench.start_broker()
    bench.enrol(port=peer.port)
    outcome = peer.outcomes.get(timeout=30)
    assert outcome == (version.name.replace("_", "."), suite, DEVICE)


def test_the_version_that_is_not_built_is_refused(bench):
    (other,) = (version for version in VERSIONS if not bench.has(f"CONFIG_MBEDTLS_SSL_PROTO_{version}=y"))
    version, ciphers, _ = VERSIONS[other]
    peer = bench.keep(TlsPeer(bench.folder / "peer", bench.authority, version, ciphers))
    bench.start_time_server()
    bench.start_broker()
    refused(bench.enrol(port=peer.port), "tls_version_or_cipher")
    assert isinstance(peer.outcomes.get(timeout=30), (ssl.SSLError, OSError))


@pytest.mark.parametrize(
    ("version", "ciphers"),
    [
        (ssl.TLSVersion.TLSv1_1, "ALL"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA256"),
        (ssl.TLSVersion.TLSv1_2, "AES128-GCM-SHA256"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ],
    ids=["tls_1_1", "cbc", "static_rsa", "chacha20_that_is_not_built"],
)
def test_another_version_or_cipher_suite_is_refused(bench, version, ciphers):
    peer = bench.keep(TlsPeer(bench.folder / "peer", bench.authority, version, ciphers))
    bench.start_time_server()
    bench.start_broker()
    refused(bench.enrol(port=peer.port), "tls_version_or_cipher")
    assert isinstance(peer.outcomes.get(timeout=30), (ssl.SSLError, OSError))
