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
use std::time::SystemTime;
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
        check_days(days)?;
        let now = SystemTime::now();
        self.check_root(days, now)?;
        let number = serial()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(id.as_str());
        (params.not_before, params.not_after) = validity(now, days);
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
