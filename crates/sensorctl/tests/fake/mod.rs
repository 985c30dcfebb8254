//! A blank device for tests, written against the protocol alone: it makes keys, checks what it gets and keeps it. It can be
//! made to do everything that a device, a line or an attacker may do wrong.

#![allow(dead_code, reason = "each test file uses a part of it")]

use p256::SecretKey;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use protocol::document::{Audience, IdentityCertificate, KeyUse, NONCE_BYTES, Provision, RenewalRequest};
use protocol::key::Digest;
use protocol::provisioning::frame::{FRAME_BYTES_MAX, FrameReader, encode_frame};
use protocol::provisioning::{Fault, FromDevice, Life, MESSAGE_BYTES_MAX, ToDevice, VERSION};
use protocol::signed::{Envelope, seal};
use protocol::x509::{Certificate, encode_csr};
use protocol::{Configuration, DeviceId, KeyId, Name, PublicKey, Signature};
use std::convert::Infallible;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Quirk {
    #[default]
    None,
    /// It never answers.
    Silent,
    /// It sends bytes that are no frames around every answer.
    Garbage,
    /// It writes its log on the same line.
    Log,
    /// It asks for certificates as another device.
    OtherId,
    /// It signs its requests with another key.
    BadProof,
    /// It asks for both certificates for one key.
    SameKey,
    /// It speaks a version that does not exist.
    Version,
    /// It takes no answer to this message in this connection: the line ends after that many messages.
    DiesAfter(usize),
    /// It commits and is gone before it has answered.
    DiesCommitted,
    /// It loses the first of every two messages.
    Deaf,
    /// It commits, and its answer and every repetition of it are lost, but it answers who it is.
    CommitsSilently,
    /// It ignores a key that is given to it.
    KeepsItsKeys,
    /// It has forgotten the first part when the second comes, again and again.
    Forgets,
}

/// What it keeps over cuts.
#[derive(Default)]
pub struct Memory {
    pub life: Option<(DeviceId, KeyId)>,
    pub destroyed: bool,
    pub group: Name,
    pub roots: usize,
    pub configuration: Option<Configuration>,
    pub certificate: Vec<u8>,
    pub begun: usize,
    /// Its certificate has ended.
    pub lapsed: bool,
    /// How often it has made keys because of that.
    pub renewals: usize,
    /// The keys of a new identity, and the request for it.
    pending: Option<(SecretKey, SecretKey, Vec<u8>)>,
    configuration_key: Option<PublicKey>,
    identity_key: Option<SecretKey>,
    pub injected: Vec<Vec<u8>>,
    keys: Vec<SecretKey>,
    id: Option<DeviceId>,
    nonce: [u8; NONCE_BYTES],
    document: Vec<u8>,
}

impl Memory {
    /// Every private scalar that it ever had.
    pub fn secrets(&self) -> Vec<Vec<u8>> {
        self.keys.iter().map(|key| key.to_bytes().to_vec()).collect()
    }
}

#[derive(Clone)]
pub struct Fake {
    pub memory: Arc<Mutex<Memory>>,
    pub quirk: Arc<Mutex<Quirk>>,
    pub factory: PublicKey,
    pub serial: &'static str,
    /// Whether it says which identity it has.
    pub tells: bool,
}

fn random_key() -> SecretKey {
    let mut bytes = [0; 32];
    loop {
        let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).unwrap();
        assert_eq!(got, bytes.len());
        if let Ok(key) = SecretKey::from_slice(&bytes) {
            return key;
        }
    }
}

fn public(key: &SecretKey) -> PublicKey {
    PublicKey::new(&key.public_key().to_sec1_bytes()).unwrap()
}

fn signed(key: &SecretKey, digest: &Digest) -> Signature {
    let signature: p256::ecdsa::Signature = SigningKey::from(key).sign_prehash(digest).unwrap();
    Signature::normalised(&signature.to_bytes()).unwrap()
}

fn csr(id: &DeviceId, key: &SecretKey, signer: &SecretKey) -> Vec<u8> {
    let mut out = vec![0; 512];
    let len =
        encode_csr(id, &public(key), &mut out, |digest| Ok::<_, Infallible>(signed(signer, digest))).unwrap();
    out.truncate(len);
    out
}

impl Fake {
    pub fn new(factory: PublicKey) -> Self {
        Self { memory: Arc::default(), quirk: Arc::default(), factory, serial: "", tells: true }
    }

    pub fn with(self, quirk: Quirk) -> Self {
        *self.quirk.lock().unwrap() = quirk;
        self
    }

    /// Answers on a socket at `path` for as long as the test runs.
    pub fn listen(&self, path: &Path) {
        let listener = UnixListener::bind(path).unwrap();
        let fake = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                fake.serve(&stream, &stream);
            }
        });
    }

    /// Answers on a line until that ends or the device dies.
    pub fn serve(&self, input: impl Read, output: impl Write) {
        self.serve_until(input, output, true, || false);
    }

    /// The same; `hook` is asked about every message and says whether it is the last one, which gets no answer: it is dealt
    /// with before or after the hook is asked.
    pub fn serve_until(
        &self,
        mut input: impl Read,
        mut output: impl Write,
        before: bool,
        mut hook: impl FnMut() -> bool,
    ) {
        let mut reader = FrameReader::<FRAME_BYTES_MAX>::new();
        let (mut buffer, mut messages) = ([0; 256], 0);
        loop {
            let Ok(len @ 1..) = input.read(&mut buffer) else { return };
            for byte in &buffer[..len] {
                let Some(message) = reader.push(*byte) else { continue };
                let Ok(message) = ToDevice::decode(message) else { continue };
                messages += 1;
                let quirk = self.quirk.lock().unwrap().clone();
                match quirk {
                    Quirk::Silent => continue,
                    Quirk::Deaf if messages % 2 == 1 => continue,
                    Quirk::DiesAfter(count) if messages > count => return,
                    _ => {}
                }
                let commit = matches!(message, ToDevice::Commit { .. });
                if before && hook() {
                    return;
                }
                let frame = self.answer(&message, &quirk);
                if !before && hook() {
                    return;
                }
                match quirk {
                    Quirk::DiesCommitted if commit => return,
                    Quirk::CommitsSilently if commit => continue,
                    Quirk::Garbage => output.write_all(b"\xff\x00\x01garbage\x00\x00\x7f").unwrap(),
                    Quirk::Log => {
                        output.write_all(b"[00:01.2] <inf> provisioning: \x1b[0m it goes on\r\n").unwrap();
                    }
                    _ => {}
                }
                if output.write_all(&frame).and_then(|()| output.flush()).is_err() {
                    return;
                }
            }
        }
    }

    fn answer(&self, message: &ToDevice<'_>, quirk: &Quirk) -> Vec<u8> {
        let mut memory = self.memory.lock().unwrap();
        let (identity_csr, tls_csr);
        let request;
        let answer = match self.decide(&mut memory, message, quirk) {
            Err(why) => FromDevice::Refused { why },
            Ok(Reply::Identity) => FromDevice::Identity {
                version: if *quirk == Quirk::Version { 9 } else { VERSION },
                life: match (memory.destroyed, &memory.life) {
                    (true, _) => Life::Destroyed,
                    (false, Some(_)) => Life::Provisioned,
                    (false, None) => Life::Blank,
                },
                firmware: "1.2.3".try_into().unwrap(),
                board: "fake".try_into().unwrap(),
                serial: self.serial.try_into().unwrap(),
                factory: self.factory.id(),
                identity: memory.life.as_ref().map(|(_, key)| *key).filter(|_| self.tells),
                until_s: memory.lapsed.then_some(1_000_000_000),
            },
            Ok(Reply::Requests) => {
                let id = memory.id.clone().unwrap();
                let asked = if *quirk == Quirk::OtherId { "dev-other".parse().unwrap() } else { id };
                let [.., identity, tls] = memory.keys.as_slice() else { panic!("two keys") };
                let tls = if *quirk == Quirk::SameKey { identity } else { tls };
                let signer = if *quirk == Quirk::BadProof { &random_key() } else { tls };
                identity_csr = csr(&asked, identity, identity);
                tls_csr = csr(&asked, tls, signer);
                FromDevice::Requests { nonce: memory.nonce, identity_csr: &identity_csr, tls_csr: &tls_csr }
            }
            Ok(Reply::Renewal) => {
                request = memory.pending.as_ref().map(|(.., request)| request.clone()).unwrap();
                FromDevice::Renewal { request: &request }
            }
            Ok(Reply::Taken) => FromDevice::Taken { len: memory.document.len() as u32 },
            Ok(Reply::Provisioned(identity)) => FromDevice::Provisioned { identity },
        };
        let (mut plain, mut frame) = (vec![0; MESSAGE_BYTES_MAX], vec![0; FRAME_BYTES_MAX]);
        let len = answer.encode(&mut plain).unwrap();
        let len = encode_frame(&plain[..len], &mut frame).unwrap();
        frame.truncate(len);
        frame
    }

    fn decide(&self, memory: &mut Memory, message: &ToDevice<'_>, quirk: &Quirk) -> Result<Reply, Fault> {
        if let ToDevice::Identify { .. } = message {
            return Ok(Reply::Identity);
        }
        if memory.destroyed {
            return Err(Fault::Locked);
        }
        if memory.life.is_some() {
            return Self::renew(memory, message);
        }
        match message {
            ToDevice::Identify { .. } => Ok(Reply::Identity),
            ToDevice::Begin { id } => {
                memory.begun += 1;
                memory.id = Some(id.clone());
                memory.keys.extend([random_key(), random_key()]);
                memory.nonce[0] = memory.begun as u8;
                memory.document.clear();
                Ok(Reply::Requests)
            }
            ToDevice::Inject { key, scalar } => {
                memory.injected.push(scalar.to_vec());
                let last = memory.keys.len() - if *key == KeyUse::Identity { 2 } else { 1 };
                if *quirk != Quirk::KeepsItsKeys {
                    memory.keys[last] = SecretKey::from_slice(scalar).unwrap();
                }
                Ok(Reply::Requests)
            }
            ToDevice::Part { offset, .. } if *quirk == Quirk::Forgets && *offset > 0 => {
                memory.document.clear();
                Ok(Reply::Taken)
            }
            ToDevice::Part { offset, bytes } => {
                if *offset as usize == memory.document.len() {
                    memory.document.extend_from_slice(bytes);
                }
                Ok(Reply::Taken)
            }
            ToDevice::Commit { len } if *len as usize == memory.document.len() => {
                let document = memory.document.clone();
                self.take(memory, &document)
            }
            ToDevice::Commit { .. } | ToDevice::Renew { .. } => Err(Fault::Order),
        }
    }

    /// What a device with an identity does: nothing, unless its certificate has ended.
    fn renew(memory: &mut Memory, message: &ToDevice<'_>) -> Result<Reply, Fault> {
        let (id, _) = memory.life.clone().unwrap();
        match message {
            ToDevice::Renew { .. } if !memory.lapsed => Err(Fault::NotEnded),
            ToDevice::Renew { .. } => {
                memory.document.clear();
                if memory.pending.is_none() {
                    memory.renewals += 1;
                    let (identity, tls) = (random_key(), random_key());
                    let request = RenewalRequest {
                        audience: Audience::Device(id.clone()),
                        number: 0,
                        identity_csr: &csr(&id, &identity, &identity),
                        tls_csr: &csr(&id, &tls, &tls),
                    };
                    let (signer, mut out) = (memory.identity_key.clone().unwrap(), vec![0; 2_048]);
                    let sign = |digest: &Digest| Ok::<_, Infallible>(signed(&signer, digest));
                    let len = seal(&request, public(&signer).id(), &mut out, sign).unwrap();
                    out.truncate(len);
                    memory.pending = Some((identity, tls, out));
                }
                Ok(Reply::Renewal)
            }
            ToDevice::Part { offset, bytes } if memory.pending.is_some() => {
                if *offset as usize == memory.document.len() {
                    memory.document.extend_from_slice(bytes);
                }
                Ok(Reply::Taken)
            }
            ToDevice::Commit { .. } if memory.pending.is_some() => {
                let envelope = Envelope::decode(&memory.document).map_err(Fault::Document)?;
                let key = memory.configuration_key.unwrap();
                let document = envelope.verify::<IdentityCertificate<'_>>(&key).map_err(Fault::Document)?;
                let (identity, tls, _) = memory.pending.clone().unwrap();
                assert_eq!((&document.audience, document.number), (&Audience::Device(id.clone()), 1));
                assert_eq!(document.identity, public(&identity).id());
                let leaf = Certificate::decode(document.chain.0[0]).unwrap();
                assert_eq!((leaf.public_key(), leaf.common_name()), (public(&tls), Some(id.as_str())));
                memory.certificate = document.chain.0[0].to_vec();
                memory.life = Some((id, public(&identity).id()));
                (memory.identity_key, memory.pending, memory.lapsed) = (Some(identity.clone()), None, false);
                Ok(Reply::Provisioned(public(&identity).id()))
            }
            _ => Err(Fault::Locked),
        }
    }

    /// Checks the document as a device must.
    fn take(&self, memory: &mut Memory, document: &[u8]) -> Result<Reply, Fault> {
        let envelope = Envelope::decode(document).map_err(Fault::Document)?;
        let provision = envelope.verify::<Provision<'_>>(&self.factory).map_err(Fault::Document)?;
        let id = memory.id.clone().unwrap();
        let [.., identity, tls] = memory.keys.as_slice() else { panic!("two keys") };
        assert_eq!(provision.audience, Audience::Device(id.clone()));
        assert_eq!((provision.nonce, provision.identity), (memory.nonce, public(identity).id()));
        let leaf = Certificate::decode(provision.chain.0[0]).unwrap();
        let root = Certificate::decode(provision.roots.0[0]).unwrap();
        assert_eq!((leaf.public_key(), leaf.common_name()), (public(tls), Some(id.as_str())));
        assert!(leaf.is_signed_by(&root.public_key()) && leaf.for_client_auth() && root.is_authority());
        let configuration = Configuration::decode(provision.configuration).unwrap();
        assert_eq!(configuration.id, id);
        let keys = [provision.firmware, provision.configuration_key, provision.anchors, self.factory];
        assert!(keys.iter().all(|key| keys.iter().filter(|other| key == *other).count() == 1));
        let identity = provision.identity;
        (memory.group, memory.roots) = (provision.group.clone(), provision.roots.0.len());
        (memory.certificate, memory.configuration) = (provision.chain.0[0].to_vec(), Some(configuration));
        memory.configuration_key = Some(provision.configuration_key);
        memory.identity_key = memory.keys.iter().rev().nth(1).cloned();
        memory.life = Some((id, identity));
        Ok(Reply::Provisioned(identity))
    }
}

enum Reply {
    Identity,
    Requests,
    Taken,
    Renewal,
    Provisioned(KeyId),
}
