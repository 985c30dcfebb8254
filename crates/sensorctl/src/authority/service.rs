//! Certificates of those that run the service: the broker and the programs of the operator. Owns their folders: a new one with a
//! new key, or a new certificate for the key that is there already, in place of the one before. R-TLS-SERVER, R-TLS-CLIENT.

use super::{Authority, AuthorityError, Credentials, Use, file, subject_name};
use crate::folder::{self, NewFolder};
use protocol::PublicKey;
use protocol::id::OPERATOR;
use rcgen::SanType;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::net::IpAddr;
use std::path::Path;
use std::time::SystemTime;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Common name of the broker's certificate.
pub(super) const BROKER: &str = "broker";

pub(super) fn names(hosts: &[String]) -> Result<Vec<SanType>, AuthorityError> {
    let names = hosts.iter().map(|host| subject_name(host)).collect::<Result<Vec<_>, _>>()?;
    if names.is_empty() {
        return Err(AuthorityError::BadArgument("the broker needs at least one host name".into()));
    }
    Ok(names)
}

fn write(out: &Path, issued: &Credentials, [key, chain]: [&str; 2]) -> Result<(), AuthorityError> {
    let new = NewFolder::begin(out)?;
    new.private(key, &issued.key)?;
    new.public(chain, issued.chain.as_bytes())?;
    Ok(new.publish()?)
}

/// Issues a client certificate of the authority in `ca` for the operator's program `common_name`, with a new key, into the new
/// folder `out`.
pub fn issue_operator_in(ca: &Path, common_name: &str, days: u32, out: &Path) -> Result<(), AuthorityError> {
    let issued = Authority::open(ca)?.issue_client(common_name, days)?;
    write(out, &issued, [file::OPERATOR_KEY, file::OPERATOR])
}

/// Issues a certificate of the authority in `ca` for a broker that is dialled by one of `hosts`, with a new key, into the new
/// folder `out`.
pub fn issue_broker_in(ca: &Path, hosts: &[String], days: u32, out: &Path) -> Result<(), AuthorityError> {
    let issued = Authority::open(ca)?.issue(BROKER, Use::Server(names(hosts)?), days, SystemTime::now())?;
    write(out, &issued, [file::BROKER_KEY, file::BROKER])
}

/// Renews the certificate of the broker in `folder`, for the same key and the same names, or for `hosts` where there are any.
/// Gives the names.
pub fn renew_broker(
    ca: &Path,
    folder: &Path,
    hosts: &[String],
    days: u32,
) -> Result<Vec<String>, AuthorityError> {
    let mut hosts = hosts.to_vec();
    renew(ca, &folder.join(file::BROKER), days, |leaf| {
        if leaf.name != BROKER || leaf.hosts.is_empty() {
            return Err("it is none of a broker");
        }
        if hosts.is_empty() {
            hosts.clone_from(&leaf.hosts);
        }
        Ok(Some(hosts.clone()))
    })?;
    Ok(hosts)
}

/// Renews the certificate of the operator's program in `folder`, for the same key and the same name. Gives the name.
pub fn renew_operator(ca: &Path, folder: &Path, days: u32) -> Result<String, AuthorityError> {
    renew(ca, &folder.join(file::OPERATOR), days, |leaf| {
        let program =
            leaf.name.strip_prefix(OPERATOR).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        if program { Ok(None) } else { Err("it is none of a program of the operator") }
    })
}

/// What a certificate says that stays.
struct Leaf {
    name: String,
    hosts: Vec<String>,
    key: PublicKey,
}

/// `decide` says for which hosts the new one is, none for a client, or why there is none. The private key is not needed: the
/// authority certifies once more what it has certified before.
fn renew(
    ca: &Path,
    path: &Path,
    days: u32,
    decide: impl FnOnce(&Leaf) -> Result<Option<Vec<String>>, &'static str>,
) -> Result<String, AuthorityError> {
    let authority = Authority::open(ca)?;
    let _turn = folder::turn(path)?;
    let not_ours = |why| AuthorityError::NotOurs(path.to_owned(), why);
    let leaf = read(&authority, path)?.ok_or_else(|| not_ours("another authority issued it"))?;
    let usage = match decide(&leaf).map_err(not_ours)? {
        Some(hosts) => Use::Server(names(&hosts)?),
        None => Use::Client,
    };
    let chain = authority.certify(&leaf.key, &leaf.name, usage, days, SystemTime::now())?;
    folder::replace(path, chain.as_bytes())?;
    Ok(leaf.name)
}

/// Reads the first certificate in a file; none where the authority has not signed it.
fn read(authority: &Authority, path: &Path) -> Result<Option<Leaf>, AuthorityError> {
    let unusable = |why: String| AuthorityError::Unusable(path.to_owned(), why);
    let text = folder::read(path)?;
    let der = CertificateDer::from_pem_slice(text.as_bytes()).map_err(|error| unusable(error.to_string()))?;
    let (_, leaf) = X509Certificate::from_der(&der).map_err(|error| unusable(error.to_string()))?;
    let root = authority.root_der()?;
    let (_, root) = X509Certificate::from_der(&root).map_err(|error| unusable(error.to_string()))?;
    if leaf.issuer() != root.subject() || leaf.verify_signature(Some(root.public_key())).is_err() {
        return Ok(None);
    }
    let name = leaf.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let key = PublicKey::new(&leaf.public_key().subject_public_key.data);
    let hosts = match leaf.subject_alternative_name() {
        Ok(Some(names)) => names.value.general_names.iter().filter_map(host).collect(),
        _ => Vec::new(),
    };
    Ok(Some(Leaf {
        name: name.unwrap_or_default().to_owned(),
        hosts,
        key: key.map_err(|error| unusable(error.to_string()))?,
    }))
}

fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let address = four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
