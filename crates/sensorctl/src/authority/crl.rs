//! The list of certificates that are not to be trusted any more (RFC 5280, section 5), for brokers.

use super::{Authority, AuthorityError, BACKDATED_S, named, seconds};
use crate::folder;
use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use time::OffsetDateTime;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

/// A certificate that is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Its serial number, big endian.
    pub serial: Vec<u8>,
    /// Since when.
    pub at: OffsetDateTime,
}

/// What a file with lists says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The highest number of a list in it; 0 where none has one.
    pub number: u32,
    /// The serial numbers in all of them, big endian, without zeros in front.
    pub serials: BTreeSet<Vec<u8>>,
}

impl Written {
    /// Reads the file at `path`, one list or several as PEM; nothing is in one that does not exist.
    pub fn read(path: &Path) -> Result<Self, AuthorityError> {
        let mut written = Self::default();
        if !path.exists() {
            return Ok(written);
        }
        let unusable = |why: String| {
            AuthorityError::Unusable(
                path.to_owned(),
                format!("{why}; what it revokes would be lost: restore it, or move it away"),
            )
        };
        let text = folder::read_bytes(path, LIST_BYTES_MAX)?;
        for list in CertificateRevocationListDer::pem_slice_iter(&text) {
            let list = list.map_err(|error| unusable(error.to_string()))?;
            let (_, list) = CertificateRevocationList::from_der(&list)
                .map_err(|error| unusable(format!("it holds no list of revoked certificates: {error}")))?;
            // What is beyond 32 bits is none of ours; the next number is above it all the same.
            let number = list.crl_number().map_or(0, |number| u32::try_from(number).unwrap_or(u32::MAX));
            written.number = written.number.max(number);
            written.serials.extend(list.iter_revoked_certificates().map(|entry| plain(entry.raw_serial())));
        }
        if written.serials.is_empty() && written.number == 0 && !text.is_empty() {
            return Err(unusable("it holds no list of revoked certificates in PEM form".to_owned()));
        }
        Ok(written)
    }
}

/// Longest file with lists in bytes: a hundred thousand devices and more.
const LIST_BYTES_MAX: u32 = 64 << 20;

/// A serial number without the zeros that an encoding may have in front.
pub fn plain(serial: &[u8]) -> Vec<u8> {
    serial.iter().copied().skip_while(|byte| *byte == 0).collect()
}

impl Authority {
    /// A list with `revoked` in it, as PEM. `number` grows with every list; brokers refuse everybody where it is older than
    /// `days`.
    pub fn crl(&self, number: u32, revoked: &[Revoked], days: u32) -> Result<String, AuthorityError> {
        let now = OffsetDateTime::now_utc();
        let entry = |revoked: &Revoked| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&revoked.serial),
            revocation_time: revoked.at,
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            // Clocks differ: a list from the future would be as good as none.
            this_update: now - Duration::from_secs(BACKDATED_S),
            next_update: now + seconds(days),
            crl_number: SerialNumber::from(u64::from(number)),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let signed = params.signed_by(&self.issuer);
        Ok(signed.map_err(|error| named(self.issuer.key(), error))?.pem()?)
    }
}
