//! As whom the operator speaks: its certificate and key, read again when the files are replaced, and how long this certificate
//! and the broker's still live. Owns the dates and the words for them, never a connection. R-TLS-CLIENT, R-TLS-SERVER.
//!
//! From [`WARN_DAYS`] days before the end every program that connects says so, once a day, with the command that renews; after
//! the end that sentence is the error, and no alert of TLS.

use crate::authority::file;
use crate::folder::{self, Version};
use crate::operator::OperatorError;
use crate::output::note;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

/// So many days before the end of a certificate its end is told; of one that lives for a shorter time, a third of its life.
pub const WARN_DAYS: i64 = 30;

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Its first second.
    pub from: OffsetDateTime,
    /// Its last.
    pub until: OffsetDateTime,
}

/// How far a certificate is with its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// It is not valid yet: its issuer's clock or this one is wrong.
    Unborn,
    /// Nothing is to be said.
    Good,
    /// It ends in so many days.
    Ending(i64),
    /// It has ended.
    Over,
}

impl Life {
    /// Reads it from a certificate in DER form.
    pub fn read(certificate: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let validity = certificate.validity();
        Some(Self { from: validity.not_before.to_datetime(), until: validity.not_after.to_datetime() })
    }

    /// How far it is at this time.
    pub fn age(&self, now: OffsetDateTime) -> Age {
        let (all, left) = ((self.until - self.from).whole_seconds(), (self.until - now).whole_seconds());
        match left {
            _ if now < self.from => Age::Unborn,
            ..0 => Age::Over,
            left if left <= (WARN_DAYS * 86_400).min(all / 3) => Age::Ending(left / 86_400),
            _ => Age::Good,
        }
    }
}

/// Whose certificate it is, and who issued it.
#[derive(Clone, Debug)]
enum Whose {
    /// The operator's, in this folder.
    Operator(PathBuf),
    /// That of the broker that was dialled.
    Broker,
}

/// What there is to say of a certificate: whose it is, its life, and the folder of the authority that renews it.
struct Notice<'n>(&'n Whose, Life, Age, &'n Path);

impl fmt::Display for Notice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(whose, life, age, ca) = self;
        match whose {
            Whose::Operator(folder) => {
                write!(f, "the operator's certificate {}", folder.join(file::OPERATOR).display())?;
            }
            Whose::Broker => f.write_str("the broker's certificate")?,
        }
        match age {
            Age::Unborn => {
                return write!(
                    f,
                    " is valid from {} on: the clock here or that of its authority is wrong",
                    life.from.date()
                );
            }
            Age::Ending(days) => write!(f, " ends on {}, in {days} days", life.until.date())?,
            Age::Good | Age::Over => write!(f, " ended on {}", life.until.date())?,
        }
        let ca = ca.display();
        match whose {
            Whose::Operator(folder) => {
                write!(
                    f,
                    ": renew it with `sensorctl ca operator --renew --ca {ca} --out {}`",
                    folder.display()
                )
            }
            Whose::Broker => write!(
                f,
                ": renew it with `sensorctl ca broker --renew --ca {ca}` and let the broker read its certificate again"
            ),
        }
    }
}

/// Something about a certificate that is wrong, as the error of a handshake.
#[derive(Debug)]
struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

fn refused(why: String) -> rustls::Error {
    rustls::Error::Other(OtherError(Arc::new(Refused(why))))
}

/// What an error of a connection says, where it is one of a handshake without the layers that it came through.
pub fn sentence(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::Other(OtherError(inner))) => inner.to_string(),
        _ => error.to_string(),
    }
}

/// The certificates in a PEM file.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, OperatorError> {
    let text = folder::read(path)?;
    let unusable = |why: String| OperatorError::Unusable(path.to_owned(), why);
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match all {
        Ok(all) if all.is_empty() => Err(unusable("it holds no certificate in PEM form".to_owned())),
        Ok(all) => Ok(all),
        Err(error) => Err(unusable(error.to_string())),
    }
}

/// What was read.
struct Loaded {
    versions: [Option<Version>; 2],
    key: Arc<CertifiedKey>,
    life: Life,
    /// Days since 1970 on which the end of the own certificate and of the broker's were told last.
    told: [i64; 2],
}

/// The operator's certificate and key in a folder, and whom it trusts.
pub(crate) struct Credentials {
    own: PathBuf,
    cas: Vec<PathBuf>,
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
    loaded: Mutex<Loaded>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("own", &self.own).finish_non_exhaustive()
    }
}

fn versions(own: &Path) -> [Option<Version>; 2] {
    [file::OPERATOR, file::OPERATOR_KEY].map(|name| Version::of(&own.join(name)))
}

fn load(own: &Path, provider: &CryptoProvider) -> Result<Loaded, OperatorError> {
    // Before the files: what is replaced while they are read is read once more.
    let versions = versions(own);
    let path = own.join(file::OPERATOR);
    let unusable = |path: &Path, why: String| OperatorError::Unusable(path.to_owned(), why);
    let chain = certificates(&path)?;
    let life = chain.first().and_then(|leaf| Life::read(leaf));
    let life = life.ok_or_else(|| unusable(&path, "its first certificate cannot be read".to_owned()))?;
    let path = own.join(file::OPERATOR_KEY);
    let text = folder::read_private(&path)?;
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|_| unusable(&path, "it holds no private key in PEM form".to_owned()))?;
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            unusable(&path, format!("it is not the key of {} beside it", file::OPERATOR))
        }
        error => unusable(&path, error.to_string()),
    })?;
    Ok(Loaded { versions, key: Arc::new(key), life, told: [0; 2] })
}

impl Credentials {
    /// Reads the certificate and the key in the folder `own`; `verifier` decides about the broker's certificate, which comes from
    /// one of the authorities in `cas`. A certificate that has ended is refused, one that is about to end is told of.
    pub(crate) fn open(
        cas: &[PathBuf],
        own: &Path,
        provider: Arc<CryptoProvider>,
        verifier: Arc<dyn ServerCertVerifier>,
    ) -> Result<Arc<Self>, OperatorError> {
        let loaded = load(own, &provider)?;
        let loaded = Mutex::new(loaded);
        let credentials = Self { own: own.to_owned(), cas: cas.to_vec(), provider, verifier, loaded };
        credentials.check(OffsetDateTime::now_utc()).map_err(OperatorError::Certificate)?;
        Ok(Arc::new(credentials))
    }

    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        // It is replaced as a whole.
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in the files now; what was, where they cannot be used.
    fn refresh(&self) -> MutexGuard<'_, Loaded> {
        let mut loaded = self.loaded();
        let versions = versions(&self.own);
        if loaded.versions != versions {
            match load(&self.own, &self.provider) {
                Ok(new) => {
                    note!(
                        "the operator's certificate in {} was replaced: it is used from now on",
                        self.own.display()
                    );
                    *loaded = new;
                }
                Err(error) => {
                    note!("{error}; the certificate from before is used until that is mended");
                    loaded.versions = versions;
                }
            }
        }
        loaded
    }

    /// The folder of the authority that issued a certificate; the last one where none of them did.
    fn issuer(&self, certificate: &[u8]) -> &Path {
        let issued = |ca: &&PathBuf| {
            let roots = certificates(&ca.join(file::ROOT)).ok()?;
            let (_, leaf) = X509Certificate::from_der(certificate).ok()?;
            let (_, root) = X509Certificate::from_der(roots.first()?).ok()?;
            (leaf.issuer() == root.subject()).then_some(())
        };
        let found = self.cas.iter().find(|ca| issued(ca).is_some()).or(self.cas.last());
        found.map_or(Path::new("CA"), PathBuf::as_path)
    }

    /// Refuses what has ended and tells what is about to.
    fn check(&self, now: OffsetDateTime) -> Result<(), String> {
        let mut loaded = self.refresh();
        let (whose, life) = (Whose::Operator(self.own.clone()), loaded.life);
        let ca = loaded.key.end_entity_cert().map_or(Path::new("CA"), |leaf| self.issuer(leaf));
        let notice = Notice(&whose, life, life.age(now), ca);
        match notice.2 {
            Age::Unborn | Age::Over => return Err(notice.to_string()),
            Age::Ending(_) => tell_once(&mut loaded.told[0], now, &notice),
            Age::Good => {}
        }
        Ok(())
    }

    /// Tells when the broker's certificate is about to end.
    fn look_at_broker(&self, certificate: &[u8], life: Life, now: OffsetDateTime) {
        if let age @ Age::Ending(_) = life.age(now) {
            let notice = Notice(&Whose::Broker, life, age, self.issuer(certificate));
            tell_once(&mut self.loaded().told[1], now, &notice);
        }
    }
}

fn tell_once(told: &mut i64, now: OffsetDateTime, notice: &Notice<'_>) {
    let day = now.unix_timestamp() / 86_400;
    if std::mem::replace(told, day) != day {
        note!("warning: {notice}");
    }
}

impl ServerCertVerifier for Credentials {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let at = OffsetDateTime::from_unix_timestamp(i64::try_from(now.as_secs()).unwrap_or_default());
        let at = at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        // The broker would answer to an own certificate that has ended with an alert that says nothing.
        self.check(at).map_err(refused)?;
        let verified = self.verifier.verify_server_cert(leaf, intermediates, name, ocsp, now);
        let out_of_date = matches!(
            verified,
            Err(rustls::Error::InvalidCertificate(
                CertificateError::Expired
                    | CertificateError::ExpiredContext { .. }
                    | CertificateError::NotValidYet
                    | CertificateError::NotValidYetContext { .. },
            ))
        );
        match Life::read(leaf) {
            // A root or another certificate of the chain may be the one.
            Some(life) if out_of_date && matches!(life.age(at), Age::Unborn | Age::Over) => {
                Err(refused(Notice(&Whose::Broker, life, life.age(at), self.issuer(leaf)).to_string()))
            }
            Some(life) if verified.is_ok() => {
                self.look_at_broker(leaf, life, at);
                verified
            }
            _ => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

impl ResolvesClientCert for Credentials {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.refresh().key))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::Duration;

    fn age(days: i64, left: Duration) -> Age {
        let from = OffsetDateTime::UNIX_EPOCH;
        let life = Life { from, until: from + Duration::days(days) };
        life.age(life.until - left)
    }

    #[test]
    fn the_end_of_a_certificate_is_told_from_thirty_days_before_or_a_third_of_its_life() {
        assert_eq!(age(365, Duration::days(31)), Age::Good);
        assert_eq!(age(365, Duration::days(30) + Duration::SECOND), Age::Good);
        assert_eq!(age(365, Duration::days(30)), Age::Ending(30));
        assert_eq!(age(365, Duration::days(1)), Age::Ending(1));
        assert_eq!(age(365, Duration::ZERO), Age::Ending(0));
        assert_eq!(age(365, -Duration::SECOND), Age::Over);
        assert_eq!(age(365, Duration::days(365) + Duration::SECOND), Age::Unborn);
        // One of a week is not told of all its life.
        assert_eq!(age(9, Duration::days(4)), Age::Good);
        assert_eq!(age(9, Duration::days(3)), Age::Ending(3));
    }

    #[test]
    fn the_sentence_has_the_date_and_the_command() {
        let until = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        let life = Life { from: OffsetDateTime::UNIX_EPOCH, until };
        let ca = Path::new("ca");
        let operator = Whose::Operator("log".into());
        assert_eq!(
            Notice(&operator, life, Age::Ending(9), ca).to_string(),
            "the operator's certificate log/operator.crt ends on 2024-10-04, in 9 days: renew it with `sensorctl ca operator \
             --renew --ca ca --out log`"
        );
        assert_eq!(
            Notice(&Whose::Broker, life, Age::Over, ca).to_string(),
            "the broker's certificate ended on 2024-10-04: renew it with `sensorctl ca broker --renew --ca ca` and let the broker \
             read its certificate again"
        );
        assert_eq!(
            Notice(&Whose::Broker, life, Age::Unborn, ca).to_string(),
            "the broker's certificate is valid from 1970-01-01 on: the clock here or that of its authority is wrong"
        );
    }
}
