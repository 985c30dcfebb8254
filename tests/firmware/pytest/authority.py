"""A test authority: P-256 certificates as DER and PEM, made when a test wants them. Nothing of it outlives the test."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

UTC = datetime.timezone.utc
LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=UTC)
FAR_AHEAD = datetime.datetime(2045, 1, 1, tzinfo=UTC)


@dataclass
class Identity:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def certificate_der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def key_der(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def write(self, folder: Path, name: str) -> None:
        """`name`.crt and `name`.key in PEM."""
        (folder / f"{name}.crt").write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        key = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / f"{name}.key").write_bytes(key)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


class Authority:
    """Signs certificates for brokers and clients."""

    def __init__(self, common_name: str = "test authority", key=None) -> None:
        key = key or ec.generate_private_key(ec.SECP256R1())
        certificate = (
            self._builder(common_name, key, LONG_AGO, FAR_AHEAD)
            .issuer_name(_name(common_name))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.identity = Identity(certificate, key)

    @staticmethod
    def _builder(common_name, key, begin, end) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(_name(common_name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
        )

    def _issue(self, common_name, usage, begin, end, names=None) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            self._builder(common_name, key, begin, end)
            .issuer_name(self.identity.certificate.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return Identity(builder.sign(self.identity.key, hashes.SHA256()), key)

    def server(
        self,
        names=("localhost", "127.0.0.1"),
        begin=LONG_AGO,
        end=FAR_AHEAD,
        usage=ExtendedKeyUsageOID.SERVER_AUTH,
        alternative_names=True,
    ) -> Identity:
        """A broker's certificate for these names and addresses."""

        def general(name: str) -> x509.GeneralName:
            try:
                return x509.IPAddress(ipaddress.ip_address(name))
            except ValueError:
                return x509.DNSName(name)

        general_names = [general(name) for name in names] if alternative_names else None
        return self._issue(names[0], usage, begin, end, general_names)

    def client_of(self, request: x509.CertificateSigningRequest, end=FAR_AHEAD) -> x509.Certificate:
        """The certificate that a device asks for, for the key that it made."""
        (name,) = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return (
            self._builder(name.value, request, LONG_AGO, end)
            .issuer_name(self.identity.certificate.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .sign(self.identity.key, hashes.SHA256())
        )

    def client(self, common_name: str) -> Identity:
        """A device's or an operator's certificate, valid now by the host's clock and later."""
        return self._issue(common_name, ExtendedKeyUsageOID.CLIENT_AUTH, LONG_AGO, FAR_AHEAD)
