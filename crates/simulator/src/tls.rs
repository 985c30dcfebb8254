//! The device's TLS: versions, cipher suites, groups, its certificate, its roots and its clock. Owns the rules by
//! which a server is believed, never a connection. R-TLS-CIPHERS, R-TLS-SERVER, R-TLS-CLIENT, R-TIME.

use protocol::EpochMillis;
use protocol::x509::path::{self, PathFault};
use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{Resumption, WantsClientCert, verify_server_name};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, TrustAnchor, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::time_provider::TimeProvider;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, OtherError, SignatureScheme,
    SupportedProtocolVersion, version,
};

/// What a device proves itself with, and whom it believes.
#[derive(Debug)]
pub struct Credentials {
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// Its certificate, then those that lead to the service's root.
    pub chain: Vec<CertificateDer<'static>>,
    /// The roots that may vouch for the service.
    pub roots: Vec<CertificateDer<'static>>,
}

impl Clone for Credentials {
    fn clone(&self) -> Self {
        Self { key: self.key.clone_key(), chain: self.chain.clone(), roots: self.roots.clone() }
    }
}

/// Why credentials cannot be used.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// A root is no certificate, or one that cannot be an anchor.
    #[error("root certificate number {number} cannot be used: {error}")]
    Root {
        /// Which one, from 1.
        number: usize,
        /// Why.
        error: webpki::Error,
    },
    /// There is no root.
    #[error("there is no root certificate: the device could trust no service")]
    NoRoots,
    /// Certificate and key do not go together, or one of them is of a kind that is not supported.
    #[error("the device's certificate and key cannot be used: {0}")]
    Identity(Error),
    /// The cryptography does not support the allowed versions.
    #[error("the version of TLS is not available: {0}")]
    Versions(Error),
}

/// The clock that certificate dates are checked against: the device's, not the host's.
#[derive(Clone, Debug, Default)]
pub struct DeviceClock(Arc<Mutex<Option<(EpochMillis, Instant)>>>);

impl DeviceClock {
    /// Sets the clock; it runs on from here.
    pub fn set(&self, time: EpochMillis) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((time, Instant::now()));
    }

    /// The time; `None` before it is set.
    pub fn now(&self) -> Option<EpochMillis> {
        let (time, since) = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(EpochMillis(time.0.saturating_add(since.elapsed().as_millis() as u64)))
    }
}

impl TimeProvider for DeviceClock {
    fn current_time(&self) -> Option<UnixTime> {
        self.now().map(|time| UnixTime::since_unix_epoch(Duration::from_millis(time.0)))
    }
}

/// The signatures that a device verifies, and asks a service for: the rule of paths takes no others.
const SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[webpki::ring::ECDSA_P256_SHA256],
    mapping: &[(SignatureScheme::ECDSA_NISTP256_SHA256, &[webpki::ring::ECDSA_P256_SHA256])],
};

/// What a device speaks with its service. Never both: whoever offers TLS 1.2 too can be led back to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// TLS 1.3 alone.
    #[default]
    Tls13,
    /// TLS 1.2 alone, for a service that has nothing newer; the firmware has a build of its own for it.
    Tls12,
}

impl Version {
    /// As rustls has it.
    pub fn supported(self) -> &'static SupportedProtocolVersion {
        match self {
            Self::Tls13 => &version::TLS13,
            Self::Tls12 => &version::TLS12,
        }
    }
}

/// The cryptography of a device, the same as the firmware's, so that a service that one of them reaches is reached by both:
/// AES-128-GCM with SHA-256, keys agreed on over P-256, ECDSA on P-256.
pub fn provider(version: Version) -> CryptoProvider {
    use ring::{cipher_suite as suite, kx_group};
    CryptoProvider {
        cipher_suites: vec![match version {
            Version::Tls13 => suite::TLS13_AES_128_GCM_SHA256,
            Version::Tls12 => suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        }],
        kx_groups: vec![kx_group::SECP256R1],
        signature_verification_algorithms: SIGNATURES,
        ..ring::default_provider()
    }
}

/// The TLS 1.3 of a device that shows a certificate. Sessions are not resumed: every connection checks the server's
/// certificate against the clock of that moment.
pub fn client_config(credentials: Credentials, clock: DeviceClock) -> Result<ClientConfig, CredentialsError> {
    let config = verifying(credentials.roots, Version::default(), clock)?
        .with_client_auth_cert(credentials.chain, credentials.key)
        .map_err(CredentialsError::Identity)?;
    Ok(without_resumption(config))
}

/// The same with a key that is only lent: what it is made into lives as long as the connection.
pub fn lent_client_config(
    key: &PrivateKeyDer<'_>,
    chain: Vec<CertificateDer<'static>>,
    roots: Vec<CertificateDer<'static>>,
    version: Version,
    clock: DeviceClock,
) -> Result<ClientConfig, CredentialsError> {
    let key = ring::sign::any_ecdsa_type(key).map_err(CredentialsError::Identity)?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(CredentialsError::Identity)?;
    let resolver = Arc::new(SingleCertAndKey::from(certified));
    Ok(without_resumption(verifying(roots, version, clock)?.with_client_cert_resolver(resolver)))
}

/// The TLS of a device that shows no certificate, because it logs in with a token. The server is verified by the same
/// rules, and before the token is sent.
pub fn token_client_config(
    roots: Vec<CertificateDer<'static>>,
    version: Version,
    clock: DeviceClock,
) -> Result<ClientConfig, CredentialsError> {
    Ok(without_resumption(verifying(roots, version, clock)?.with_no_client_auth()))
}

fn verifying(
    roots: Vec<CertificateDer<'static>>,
    version: Version,
    clock: DeviceClock,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, CredentialsError> {
    let provider = Arc::new(provider(version));
    if roots.is_empty() {
        return Err(CredentialsError::NoRoots);
    }
    let anchored = (1..).zip(roots).map(|(number, root)| {
        let anchor = webpki::anchor_from_trusted_cert(&root).map(|anchor| anchor.to_owned());
        Ok((anchor.map_err(|error| CredentialsError::Root { number, error })?, root))
    });
    let (anchors, roots) = anchored.collect::<Result<_, CredentialsError>>()?;
    let verifier = PathVerifier { anchors, roots, algorithms: provider.signature_verification_algorithms };
    let builder = ClientConfig::builder_with_details(provider, Arc::new(clock))
        .with_protocol_versions(&[version.supported()])
        .map_err(CredentialsError::Versions)?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)))
}

fn without_resumption(mut config: ClientConfig) -> ClientConfig {
    config.resumption = Resumption::disabled();
    config
}

fn is_of_dates(error: &webpki::Error) -> bool {
    matches!(error, webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. })
}

/// The server's certificate names itself as its issuer.
#[derive(Debug, Error)]
#[error("the certificate is self-signed")]
pub struct SelfSigned;

/// Signatures, names and dates are webpki's to verify; every path that it finds has to pass [`path::judge`] too, the rule of
/// all ports.
#[derive(Debug)]
struct PathVerifier {
    anchors: Vec<TrustAnchor<'static>>,
    /// The certificates of the anchors, in the same order.
    roots: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PathVerifier {
    /// Verifies the path from `leaf` to a root.
    fn verify_path(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let sent: Vec<&[u8]> = std::iter::once(leaf).chain(others).map(AsRef::as_ref).collect();
        path::check_length(sent.iter().map(|der| der.len())).map_err(other)?;
        path::check_sent(&sent).map_err(other)?;
        let fault = Cell::new(None);
        let parsed = webpki::EndEntityCert::try_from(leaf);
        let found = parsed.as_ref().map_err(Clone::clone).and_then(|parsed| {
            let passes = |found: &webpki::VerifiedPath<'_>| {
                self.judge(leaf, found, now).map_err(|why| {
                    fault.set(Some(why));
                    webpki::Error::UnknownIssuer
                })
            };
            let usage = webpki::KeyUsage::server_auth();
            parsed
                .verify_for_usage(self.algorithms.all, &self.anchors, others, now, usage, None, Some(&passes))
                .map(drop)
        });
        let Err(error) = found else { return Ok(()) };
        // webpki looks at the dates first. A stranger's say nothing: they count where all else holds at a time that fits.
        let error = match (&parsed, &error) {
            (
                Ok(parsed),
                webpki::Error::CertExpired { not_after: then, .. }
                | webpki::Error::CertNotValidYet { not_before: then, .. },
            ) => {
                let usage = webpki::KeyUsage::server_auth();
                let algorithms = self.algorithms.all;
                let then =
                    parsed.verify_for_usage(algorithms, &self.anchors, others, *then, usage, None, None);
                then.err().filter(|error| !is_of_dates(error)).unwrap_or(error)
            }
            _ => error,
        };
        let roots: Vec<&[u8]> = self.roots.iter().map(AsRef::as_ref).collect();
        let fault = fault.get().or_else(|| path::explain(&sent, &roots, millis(now), false));
        Err(match (fault, error) {
            (Some(fault), _) => other(fault),
            (None, webpki::Error::UnknownIssuer) if is_self_issued(leaf) => other(SelfSigned),
            (None, webpki::Error::UnknownIssuer) => CertificateError::UnknownIssuer.into(),
            (None, webpki::Error::CertExpired { .. }) => CertificateError::Expired.into(),
            (None, webpki::Error::CertNotValidYet { .. }) => CertificateError::NotValidYet.into(),
            (None, webpki::Error::InvalidSignatureForPublicKey) => CertificateError::BadSignature.into(),
            (None, error) => other(error),
        })
    }

    /// What the rule says of a path that webpki has verified; of several roots with one name and key, one has to pass.
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        found: &webpki::VerifiedPath<'_>,
        now: UnixTime,
    ) -> Result<(), PathFault> {
        let between: Vec<CertificateDer<'_>> =
            found.intermediate_certificates().map(webpki::Cert::der).collect();
        let below: Vec<&[u8]> = std::iter::once(leaf).chain(&between).map(AsRef::as_ref).collect();
        let mut verdict = Err(PathFault::IssuerName);
        for (_, root) in self.anchors.iter().zip(&self.roots).filter(|(anchor, _)| *anchor == found.anchor())
        {
            verdict = path::judge(&[&below[..], &[root]].concat(), millis(now));
            if verdict.is_ok() {
                break;
            }
        }
        verdict
    }
}

fn millis(time: UnixTime) -> EpochMillis {
    EpochMillis::from_seconds(time.as_secs())
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    CertificateError::Other(OtherError(Arc::new(error))).into()
}

impl ServerCertVerifier for PathVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify_path(end_entity, intermediates, now)?;
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn is_self_issued(certificate: &CertificateDer<'_>) -> bool {
    webpki::EndEntityCert::try_from(certificate).is_ok_and(|parsed| parsed.issuer() == parsed.subject())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_rustls::rustls::{CipherSuite, NamedGroup, SupportedCipherSuite};

    #[test]
    fn one_version_is_offered_with_the_suite_the_group_and_the_signature_of_the_firmware() {
        for (version, suite) in [
            (Version::Tls13, CipherSuite::TLS13_AES_128_GCM_SHA256),
            (Version::Tls12, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
        ] {
            let provider = provider(version);
            let suites: Vec<CipherSuite> =
                provider.cipher_suites.iter().map(SupportedCipherSuite::suite).collect();
            assert_eq!(suites, [suite]);
            let groups: Vec<NamedGroup> = provider.kx_groups.iter().map(|group| group.name()).collect();
            assert_eq!(groups, [NamedGroup::secp256r1]);
            let signatures = provider.signature_verification_algorithms.supported_schemes();
            assert_eq!(signatures, [SignatureScheme::ECDSA_NISTP256_SHA256]);
        }
    }

    #[test]
    fn a_clock_that_was_never_set_gives_no_time_to_check_certificates_with() {
        let clock = DeviceClock::default();
        assert_eq!(clock.current_time(), None);
        clock.set(EpochMillis::from_seconds(1_000));
        assert!(clock.current_time().is_some_and(|time| (1_000..1_010).contains(&time.as_secs())));
    }
}
