//! The one table from what libraries and the kernel say to [`Failure`], the name that travels to the service and into
//! logs. Owns no policy. R-TLS-SERVER.

use crate::tls::SelfSigned;
use protocol::Failure;
use protocol::x509::path::PathFault;
use std::io::{self, ErrorKind};
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, Error as RustlsError, OtherError, PeerMisbehaved,
};

/// What a CONNACK that is no success means (MQTT 3.1.1, table 3.1).
pub fn of_connack(code: u8) -> Failure {
    match code {
        2 => Failure::MqttIdentifier,
        3 => Failure::MqttUnavailable,
        4 => Failure::MqttCredentials,
        5 => Failure::MqttNotAuthorised,
        _ => Failure::MqttProtocol,
    }
}

/// What the kernel says; a TLS error that travels inside is taken out first.
pub fn of_io(error: &io::Error) -> Failure {
    if let Some(inner) = error.get_ref() {
        if let Some(tls) = inner.downcast_ref::<RustlsError>() {
            return of_rustls(tls);
        }
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return of_io(io);
        }
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => Failure::Refused,
        ErrorKind::TimedOut => Failure::ConnectTimeout,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            Failure::Unreachable
        }
        ErrorKind::UnexpectedEof => Failure::PeerClosed,
        _ => Failure::LinkLost,
    }
}

/// What TLS says.
pub fn of_rustls(error: &RustlsError) -> Failure {
    match error {
        RustlsError::InvalidCertificate(error) => of_certificate(error),
        RustlsError::AlertReceived(alert) => of_alert(*alert),
        RustlsError::PeerIncompatible(_)
        | RustlsError::PeerMisbehaved(
            PeerMisbehaved::SelectedUnofferedCipherSuite
            | PeerMisbehaved::SelectedUnofferedKxGroup
            | PeerMisbehaved::SelectedUnusableCipherSuiteForVersion
            | PeerMisbehaved::SelectedTls12UsingTls13VersionExtension
            | PeerMisbehaved::AttemptedDowngradeToTls12WhenTls13IsSupported,
        ) => Failure::TlsVersionOrCipher,
        RustlsError::NoCertificatesPresented => Failure::TlsCertificate,
        RustlsError::UnsupportedNameType => Failure::TlsName,
        RustlsError::InconsistentKeys(_) => Failure::Credentials,
        _ => Failure::TlsOther,
    }
}

fn of_certificate(error: &CertificateError) -> Failure {
    use CertificateError as E;
    match error {
        E::Expired | E::ExpiredContext { .. } => Failure::TlsExpired,
        E::NotValidYet | E::NotValidYetContext { .. } => Failure::TlsNotYetValid,
        E::UnknownIssuer => Failure::TlsUnknownIssuer,
        E::NotValidForName | E::NotValidForNameContext { .. } => Failure::TlsName,
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => Failure::TlsUsage,
        E::BadSignature
        | E::UnsupportedSignatureAlgorithmContext { .. }
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => Failure::TlsSignature,
        E::Other(OtherError(error)) => {
            if let Some(fault) = error.downcast_ref::<PathFault>() {
                Failure::from(*fault)
            } else if error.is::<SelfSigned>() {
                Failure::TlsSelfSigned
            } else {
                error.downcast_ref::<webpki::Error>().map_or(Failure::TlsCertificate, of_webpki)
            }
        }
        _ => Failure::TlsCertificate,
    }
}

/// What webpki says where the rule for paths has no name for it: it stops at what it meets first, the rule at what is nearest
/// the root.
fn of_webpki(error: &webpki::Error) -> Failure {
    use webpki::Error as E;
    match error {
        E::EndEntityUsedAsCa => Failure::TlsIssuerNotCa,
        E::CaUsedAsEndEntity => Failure::TlsSelfSigned,
        E::SignatureAlgorithmMismatch
        | E::UnsupportedSignatureAlgorithmContext(_)
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Failure::TlsSignature,
        E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => Failure::TlsUsage,
        E::MaximumPathDepthExceeded => Failure::TlsChainTooLong,
        E::PathLenConstraintViolated => Failure::TlsPathLength,
        E::NameConstraintViolation => Failure::TlsNameConstraints,
        E::UnsupportedCriticalExtension => Failure::TlsCriticalExtension,
        E::UnsupportedCertVersion => Failure::TlsCertificateVersion,
        E::BadDer
        | E::BadDerTime
        | E::ExtensionValueInvalid
        | E::MalformedExtensions
        | E::TrailingData(_)
        | E::InvalidCertValidity => Failure::TlsMalformed,
        _ => Failure::TlsCertificate,
    }
}

/// What the server says about us (RFC 8446, section 6.2). An alert about a certificate is about the device's own.
fn of_alert(alert: AlertDescription) -> Failure {
    use AlertDescription as A;
    match alert {
        A::BadCertificate
        | A::UnsupportedCertificate
        | A::CertificateRevoked
        | A::CertificateExpired
        | A::CertificateUnknown
        | A::CertificateRequired
        | A::NoCertificate
        | A::UnknownCA
        | A::AccessDenied => Failure::TlsClientRejected,
        A::HandshakeFailure | A::ProtocolVersion | A::InsufficientSecurity => Failure::TlsVersionOrCipher,
        A::UnrecognisedName => Failure::TlsName,
        _ => Failure::TlsOther,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tls_error_is_found_however_deep_io_has_wrapped_it() {
        let tls = RustlsError::AlertReceived(AlertDescription::CertificateRequired);
        let once = io::Error::new(ErrorKind::InvalidData, tls);
        assert_eq!(of_io(&once), Failure::TlsClientRejected);
        assert_eq!(of_io(&io::Error::other(once)), Failure::TlsClientRejected);
    }

    #[test]
    fn every_refusing_connack_has_its_own_name() {
        let names: Vec<Failure> = (1..=6).map(of_connack).collect();
        assert_eq!(
            names,
            [
                Failure::MqttProtocol,
                Failure::MqttIdentifier,
                Failure::MqttUnavailable,
                Failure::MqttCredentials,
                Failure::MqttNotAuthorised,
                Failure::MqttProtocol
            ]
        );
    }
}
