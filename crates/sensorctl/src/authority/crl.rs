//! The list of certificates that are not to be trusted any more (RFC 5280, section 5), for brokers.

use super::{Authority, AuthorityError, BACKDATED_S, named, seconds};
use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber,
};
use std::time::Duration;
use time::OffsetDateTime;

/// A certificate that is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Its serial number, big endian.
    pub serial: Vec<u8>,
    /// Since when.
    pub at: OffsetDateTime,
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
