//! Certificates for devices that made their keys themselves: from the public half to a certificate, without ever seeing the
//! private one.

use super::{Authority, AuthorityError, check_days, common_name, named, serial, validity};
use crate::folder::FolderError;
use device::identity::check_chain;
use protocol::x509::Certificate;
use protocol::{DeviceId, PublicKey};
use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, PublicKeyData, SignatureAlgorithm,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::Path;
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;

/// A certificate for a device's TLS key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// DER.
    pub der: Vec<u8>,
    /// Its serial number, big endian.
    pub serial: Vec<u8>,
    /// The end of its life.
    pub until: OffsetDateTime,
}

impl Issued {
    /// SHA-256 of the DER: what cloud registries know a certificate by.
    pub fn fingerprint(&self) -> [u8; 32] {
        protocol::key::sha256(&[&self.der])
    }
}

/// A quarter of `days` before `now`, since 1970.
fn early(now: SystemTime, days: u32) -> Duration {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_secs(u64::from(days) * 86_400 / 4))
}

/// A public key as the subject of a certificate.
pub(super) struct Subject<'a>(pub(super) &'a PublicKey);

impl PublicKeyData for Subject<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl Authority {
    /// Issues a client certificate for the device `id` and the TLS key `key`, valid for `days`. Whoever calls this has seen
    /// the proof that the device holds the private half ([`protocol::x509::Csr`]).
    pub fn issue_device(&self, id: &DeviceId, key: &PublicKey, days: u32) -> Result<Issued, AuthorityError> {
        self.issue_device_at(id, key, days, SystemTime::now())
    }

    fn issue_device_at(
        &self,
        id: &DeviceId,
        key: &PublicKey,
        days: u32,
        now: SystemTime,
    ) -> Result<Issued, AuthorityError> {
        check_days(days)?;
        self.check_root(days, now)?;
        let number = serial()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(id.as_str());
        (params.not_before, params.not_after) = validity(now, days);
        // A clock here that is ahead must not give the device a certificate that it cannot use for weeks. Its key was made just
        // now, so nothing older is vouched for. A quarter of the life: less than two thirds, after which a device renews.
        let early = OffsetDateTime::UNIX_EPOCH + early(now, days);
        params.not_before = params.not_before.min(early).max(self.begin()?);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(number.clone());
        let signed = params.signed_by(&Subject(key), &self.issuer);
        let certificate = signed.map_err(|error| named(self.issuer.key(), error))?;
        self.check(certificate.der(), now).map_err(|_| AuthorityError::Foreign(self.path.clone()))?;
        let der = certificate.der().to_vec();
        // What the device's own decoder does not read is not sent to it.
        Certificate::decode(&der).map_err(AuthorityError::Form)?;
        check_chain(&[&der], id, key, crate::operator::now()).map_err(AuthorityError::Refused)?;
        Ok(Issued { der, serial: number.to_bytes(), until: params.not_after })
    }

    /// When the root certificate begins.
    pub fn begin(&self) -> Result<OffsetDateTime, AuthorityError> {
        let der = self.root_der()?;
        let root = Certificate::decode(&der).map_err(AuthorityError::Form)?;
        Ok(OffsetDateTime::UNIX_EPOCH + Duration::from_secs(root.not_before().seconds()))
    }

    /// The root certificate as DER.
    pub fn root_der(&self) -> Result<Vec<u8>, AuthorityError> {
        first_certificate(&self.root, &self.path)
    }
}

/// The certificates in a PEM file as DER, each one that a device can hold.
pub fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, AuthorityError> {
    let text = crate::folder::read(path).map_err(|error: FolderError| AuthorityError::Folder(error))?;
    let unusable = |why: String| AuthorityError::Unusable(path.to_owned(), why);
    let mut all = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let der = certificate.map_err(|error| unusable(error.to_string()))?.to_vec();
        Certificate::decode(&der)
            .map_err(|error| unusable(format!("a certificate in it is none that a device takes: {error}")))?;
        all.push(der);
    }
    if all.is_empty() {
        return Err(unusable("it holds no certificate in PEM form".to_owned()));
    }
    Ok(all)
}

fn first_certificate(pem: &str, path: &Path) -> Result<Vec<u8>, AuthorityError> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .map(|certificate| certificate.to_vec())
        .map_err(|error| AuthorityError::Unusable(path.to_owned(), error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::{DAYS_MAX, init};
    use p256::SecretKey;

    fn issued(days: u32, ahead_days: u64) -> (Certificate<'static>, u64) {
        let folder = tempfile::tempdir().unwrap();
        init(folder.path(), &["localhost".into()], 1).unwrap();
        let authority = Authority::open(folder.path()).unwrap();
        let key = SecretKey::from_slice(&[7; 32]).unwrap();
        let key = PublicKey::new(&key.public_key().to_sec1_bytes()).unwrap();
        let now = SystemTime::now();
        let ahead = now + Duration::from_secs(ahead_days * 86_400);
        let issued = authority.issue_device_at(&"dev-1".parse().unwrap(), &key, days, ahead).unwrap();
        let now_s = now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        (Certificate::decode(issued.der.leak()).unwrap(), now_s)
    }

    #[test]
    fn a_certificate_made_with_a_clock_forty_days_ahead_is_valid_at_once() {
        let (leaf, now_s) = issued(crate::enrol::DEVICE_DAYS, 40);
        assert!(leaf.not_before().seconds() <= now_s, "{}", leaf.not_before());
    }

    #[test]
    fn a_new_certificate_has_more_than_a_third_of_its_life_left_or_devices_would_renew_without_end() {
        for days in [1, 2, 30, 90, 365, DAYS_MAX] {
            let (leaf, now_s) = issued(days, 40);
            let (from, until) = (leaf.not_before().seconds(), leaf.not_after().seconds());
            let made_s = now_s + 40 * 86_400;
            assert!((until - made_s) * 3 > until - from, "{days}");
        }
    }
}
