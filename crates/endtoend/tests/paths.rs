//! The one list of certificate paths over the real way: SNTP, TCP, TLS, MQTT. Each verdict is the one that the list states, as
//! on every other port. R-TLS-SERVER, R-ROOTS.

use device::Note;
use endtoend::paths::{self, Case, Verdict};
use endtoend::pki::Pki;
use endtoend::{HOST, dut};
use protocol::{EpochMillis, Failure};
use simulator::folder;
use simulator::machine::Machine;
use simulator::port::{Port, Report, stopper};
use simulator::sensor::Model;
use simulator::time_server::{Behaviour, TimeServer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use tokio_rustls::rustls::{SignatureAlgorithm, SignatureScheme};

/// Long enough for a loaded machine; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(120);

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Signs with its key whether the device has asked for such a signature or not.
#[derive(Debug)]
struct Insists(Arc<dyn SigningKey>);

impl SigningKey for Insists {
    fn choose_scheme(&self, _offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        self.0.choose_scheme(&[
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ED25519,
        ])
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }
}

/// A service that shows the case's chain, to whom it should not too where it `insists`, and lets everybody in. Gives its port.
async fn service(case: &Case, insists: bool) -> u16 {
    let chain = case.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let key = PrivateKeyDer::from_pem_slice(case.key_pem.as_bytes()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    // The key fits; what else the certificate says is the client's to judge.
    let mut signer = ring::sign::any_supported_type(&key).unwrap();
    if insists {
        signer = Arc::new(Insists(signer));
    }
    let resolver = SingleCertAndKey::from(CertifiedKey::new(chain, signer));
    let acceptor = TlsAcceptor::from(Arc::new(builder.with_cert_resolver(Arc::new(resolver))));
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Most are refused here.
                let Ok(mut tls) = acceptor.accept(stream).await else { return };
                let mut buffer = [0; 1024];
                if tls.read(&mut buffer).await.is_ok_and(|len| len > 0)
                    && tls.write_all(&[0x20, 2, 0, 0]).await.is_ok()
                {
                    while tls.read(&mut buffer).await.is_ok_and(|len| len > 0) {}
                }
            });
        }
    });
    port
}

/// What becomes of the case's first connection: the word for it.
async fn tried(pki: &Pki, case: &Case, insists: bool) -> String {
    let roots: Vec<&[u8]> = case.roots.iter().map(Vec::as_slice).collect();
    let taken = protocol::x509::path::check_roots(&roots, simulator::port::build_time());
    let port = service(case, insists).await;
    let offset_ms = i64::from(case.ahead_s) * 1_000;
    let time = TimeServer::start(loopback(), Behaviour { offset_ms, ..Behaviour::default() }).await.unwrap();
    let configuration =
        dut::configuration(case.name.get(..case.name.len().min(32)).unwrap(), port, time.address());
    let mut folder = pki.enrol(&configuration);
    folder.credentials.roots = case.roots.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let mut machine = Machine::in_memory().unwrap();
    match (folder::provision(&mut machine, &folder), taken) {
        (Ok(_), Ok(())) => {}
        // Without a time, the device cannot know that it has ended; the tool does.
        (_, Err(protocol::x509::path::RootsError::Unfit { fault, .. })) => {
            return Verdict::RootsRefused(fault).word();
        }
        (provisioned, taken) => panic!("{}: {provisioned:?}, {taken:?}", case.name),
    }
    let mut port = Port::new(Model::new(1));
    port.info.policy.backoff_floor_ms = 50;
    port.info.build = EpochMillis::from_seconds(1_790_000_000);
    let (out, mut reports) = mpsc::unbounded_channel();
    port.observer = Box::new(move |report| {
        // The first verdict is enough.
        let _enough = out.send(report.clone());
    });
    let (stop, stopped) = stopper();
    let verdict = async {
        loop {
            match tokio::time::timeout(PATIENCE, reports.recv()).await.expect("a verdict") {
                Some(Report::Note { note: Note::Connected { .. }, .. }) => break Verdict::Connected,
                Some(Report::Note { note: Note::Disconnected(why), .. }) => break Verdict::Refused(why),
                Some(_) => {}
                None => panic!("{}: the device is gone", case.name),
            }
        }
    };
    let run = port.run(&mut machine, stopped);
    tokio::pin!(run);
    let verdict = tokio::select! {
        biased;
        verdict = verdict => verdict,
        ended = &mut run => panic!("{}: the device ended by itself: {ended:?}", case.name),
    };
    stop.stop();
    run.await.unwrap();
    verdict.word()
}

#[tokio::test]
async fn every_path_of_the_list_gets_its_verdict() {
    let pki = Pki::new();
    let mut wrong = Vec::new();
    for case in paths::all(HOST) {
        let found = tried(&pki, &case, false).await;
        if found != case.verdict.word() {
            wrong.push(format!("{}: {found}, and not {}", case.name, case.verdict.word()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_service_that_shows_a_key_of_another_kind_unasked_is_refused_by_the_rule() {
    let pki = Pki::new();
    for case in paths::all(HOST).iter().filter(|case| case.name.starts_with("server-key-")) {
        assert_eq!(tried(&pki, case, true).await, "tls_algorithm", "{}", case.name);
    }
}

#[test]
fn the_list_has_every_name_once_and_every_reason_of_the_rule() {
    let cases = paths::all(HOST);
    let mut names: Vec<&str> = cases.iter().map(|case| case.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases.len());
    let verdicts: Vec<Verdict> = cases.iter().map(|case| case.verdict).collect();
    for fault in protocol::x509::path::PathFault::ALL {
        let failure = Verdict::Refused(Failure::from(*fault));
        assert!(verdicts.contains(&failure), "{fault:?}");
    }
    assert!(verdicts.contains(&Verdict::Connected));
}

#[test]
fn the_list_is_written_as_another_port_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    paths::write(folder.path(), "broker.example").unwrap();
    let index = std::fs::read(folder.path().join("cases.json")).unwrap();
    let index: Vec<serde_json::Value> = serde_json::from_slice(&index).unwrap();
    assert!(index.len() > 40);
    for case in index {
        let place = folder.path().join(case["name"].as_str().unwrap());
        assert_eq!(case["host"], "broker.example");
        assert!(case["ahead_s"].is_u64() && case["verdict"].is_string());
        assert!(CertificateDer::pem_file_iter(place.join("roots.crt")).unwrap().count() > 0);
        assert!(CertificateDer::pem_file_iter(place.join("chain.crt")).unwrap().count() > 0);
        PrivateKeyDer::from_pem_file(place.join("server.key")).unwrap();
    }
}
