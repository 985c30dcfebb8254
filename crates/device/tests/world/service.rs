//! The service's side of trust: a certificate authority, the four authorities, and what they sign.

use super::vault::{public, sign};
use device::provisioning::About;
use protocol::document::{
    Action, Audience, AuthorityKey, CSR_BYTES_MAX, Certificates, Command, End, IdentityCertificate, Power,
    Provision, RenewalRequest, Retirement, RootList,
};
use protocol::provisioning::FromDevice;
use protocol::signed::{Document, Envelope, PROVISION_DOCUMENT_BYTES_MAX, seal};
use protocol::x509::Csr;
use protocol::{DeviceId, EpochMillis, KeyId, PublicKey};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SignatureAlgorithm,
};
use std::cell::RefCell;

/// The key of a power: the same in every test.
pub fn key_of(power: Power) -> [u8; 32] {
    [match power {
        Power::Firmware => 0x11,
        Power::Configuration => 0x12,
        Power::Anchors => 0x13,
        Power::Factory => 0x14,
        Power::Device => 0x15,
    }; 32]
}

/// Signs a document with the key of `power`.
pub fn signed<'b, T: Document<'b>>(document: &T, power: Power) -> Vec<u8> {
    signed_with(document, &key_of(power))
}

pub fn signed_with<'b, T: Document<'b>>(document: &T, scalar: &[u8; 32]) -> Vec<u8> {
    let mut out = vec![0; PROVISION_DOCUMENT_BYTES_MAX];
    let len =
        seal(document, public(scalar).id(), &mut out, |digest| Ok::<_, ()>(sign(scalar, digest))).unwrap();
    out.truncate(len);
    out
}

pub fn about() -> About {
    About {
        firmware: "0.1.0".try_into().unwrap(),
        board: "world".try_into().unwrap(),
        serial: "0123".try_into().unwrap(),
        build: super::BUILD,
        factory: public(&key_of(Power::Factory)),
        injection: false,
    }
}

/// A certificate authority.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub root: Vec<u8>,
}

struct Subject(PublicKey);

impl PublicKeyData for Subject {
    fn der_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

/// What a certificate is like.
#[derive(Clone, Copy)]
pub struct Leaf {
    pub from: EpochMillis,
    pub until: EpochMillis,
    pub client: bool,
    pub authority: bool,
}

impl Ca {
    pub fn new(name: &str, until: EpochMillis) -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = (date(super::BUILD), date(until));
        let root = params.self_signed(&key).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), root }
    }

    /// Another certificate for its own key, issued by itself.
    pub fn certificate(&self, name: &str, authority: bool, until: EpochMillis) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = if authority { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
        (params.not_before, params.not_after) = (date(super::BUILD), date(until));
        params.self_signed(self.issuer.key()).unwrap().der().to_vec()
    }

    pub fn issue(&self, id: &str, key: &PublicKey, leaf: Leaf) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, id);
        (params.not_before, params.not_after) = (date(leaf.from), date(leaf.until));
        params.is_ca =
            if leaf.authority { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if leaf.authority {
            params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        }
        let usage = if leaf.client {
            ExtendedKeyUsagePurpose::ClientAuth
        } else {
            ExtendedKeyUsagePurpose::ServerAuth
        };
        params.extended_key_usages = vec![usage];
        params.signed_by(&Subject(*key), &self.issuer).unwrap().der().to_vec()
    }
}

/// A chain or a list of roots.
pub fn certificates<'c, const MAX: usize>(all: &[&'c [u8]]) -> Certificates<'c, MAX> {
    Certificates(heapless::Vec::from_slice(all).unwrap())
}

fn date(time: EpochMillis) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(time.seconds() as i64).unwrap()
}

/// The service: it answers requests and signs documents.
pub struct Service {
    pub ca: Ca,
    pub leaf: Leaf,
    /// Number of the last document.
    pub number: u32,
    /// What time it is, in seconds since 1970.
    pub now_s: u64,
    /// The identity keys that it knows.
    pub registered: RefCell<Vec<PublicKey>>,
}

impl Service {
    pub fn new() -> Self {
        let until = EpochMillis::from_seconds(super::BUILD.seconds() + 10 * 365 * 86_400);
        let leaf = Leaf { from: super::BUILD, until, client: true, authority: false };
        Self { ca: Ca::new("root", until), leaf, number: 1, now_s: 0, registered: RefCell::default() }
    }

    /// What a blank device with these requests gets, after `change`.
    pub fn provision(
        &self,
        requests: &FromDevice<'_>,
        configuration: &[u8],
        change: impl FnOnce(&mut Provision<'_>),
    ) -> Vec<u8> {
        self.provision_signed(requests, configuration, &key_of(Power::Factory), change)
    }

    pub fn provision_signed(
        &self,
        requests: &FromDevice<'_>,
        configuration: &[u8],
        scalar: &[u8; 32],
        change: impl FnOnce(&mut Provision<'_>),
    ) -> Vec<u8> {
        let FromDevice::Requests { nonce, identity_csr, tls_csr } = requests else {
            panic!("no requests: {requests:?}");
        };
        let (identity, tls) = (Csr::decode(identity_csr).unwrap(), Csr::decode(tls_csr).unwrap());
        assert_eq!(identity.id, tls.id);
        self.registered.borrow_mut().push(identity.key);
        let leaf = self.ca.issue(identity.id.as_str(), &tls.key, self.leaf);
        let mut document = Provision {
            audience: Audience::Device(identity.id),
            nonce: *nonce,
            group: "north".try_into().unwrap(),
            identity: identity.key.id(),
            chain: certificates(&[&leaf]),
            roots: certificates(&[&self.ca.root]),
            firmware: public(&key_of(Power::Firmware)),
            configuration_key: public(&key_of(Power::Configuration)),
            anchors: public(&key_of(Power::Anchors)),
            configuration,
        };
        change(&mut document);
        signed_with(&document, scalar)
    }

    /// The answer to a request, which `key` has signed.
    pub fn answer(&mut self, request: &[u8], key: &PublicKey) -> Vec<u8> {
        self.answer_with(request, key, Power::Configuration, |_| {})
    }

    pub fn answer_with(
        &mut self,
        request: &[u8],
        key: &PublicKey,
        power: Power,
        change: impl FnOnce(&mut IdentityCertificate<'_>),
    ) -> Vec<u8> {
        let request = Envelope::decode(request).unwrap().verify::<RenewalRequest<'_>>(key).unwrap();
        assert!(request.identity_csr.len() <= CSR_BYTES_MAX && request.tls_csr.len() <= CSR_BYTES_MAX);
        let identity = Csr::decode(request.identity_csr).unwrap();
        let tls = Csr::decode(request.tls_csr).unwrap();
        self.registered.borrow_mut().push(identity.key);
        let leaf = self.ca.issue(identity.id.as_str(), &tls.key, self.leaf);
        let mut document = IdentityCertificate {
            audience: request.audience.clone(),
            number: request.number + 1,
            identity: identity.key.id(),
            chain: certificates(&[&leaf]),
        };
        change(&mut document);
        signed(&document, power)
    }

    pub fn roots_list(&mut self, audience: Audience, roots: &[&[u8]]) -> Vec<u8> {
        self.number += 1;
        signed(&RootList { audience, number: self.number, roots: certificates(roots) }, Power::Anchors)
    }

    pub fn rotate(&mut self, id: &DeviceId) -> Vec<u8> {
        self.command(id, Action::Rotate)
    }

    /// A command that does not expire.
    pub fn command(&mut self, id: &DeviceId, action: Action) -> Vec<u8> {
        self.number += 1;
        let audience = Audience::Device(id.clone());
        let command = Command { audience, number: self.number, expires_s: u64::MAX, action };
        signed(&command, Power::Configuration)
    }

    pub fn authority(&mut self, audience: Audience, power: Power, key: PublicKey) -> Vec<u8> {
        self.number += 1;
        signed(&AuthorityKey { audience, number: self.number, power, key }, Power::Anchors)
    }

    pub fn retire(&mut self, id: &DeviceId, end: End, identity: KeyId) -> Vec<u8> {
        self.retire_until(id, end, identity, self.now_s + 3_600)
    }

    pub fn retire_until(&mut self, id: &DeviceId, end: End, identity: KeyId, expires_s: u64) -> Vec<u8> {
        self.number += 1;
        let audience = Audience::Device(id.clone());
        signed(&Retirement { audience, number: self.number, end, identity, expires_s }, Power::Anchors)
    }
}
