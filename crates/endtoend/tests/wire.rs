//! What somebody sees who sits on the wire: a TLS handshake that offers only what is allowed, and behind it nothing
//! that can be read; and what a server gets that speaks MQTT in clear: nothing. R-TLS-ALL, R-TLS-CIPHERS.

use device::Policy;
use endtoend::client::Message;
use endtoend::dut::{Dut, Progress, configuration};
use endtoend::mosquitto::Mosquitto;
use endtoend::operator::Operator;
use endtoend::pki::Pki;
use endtoend::proxy::{Proxy, Recording};
use endtoend::records::{self, ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE};
use simulator::time_server::{Behaviour, TimeServer};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use tls_parser::{
    NamedGroup, TlsClientHelloContents, TlsExtension, TlsMessage, TlsMessageHandshake, TlsVersion,
    parse_tls_client_hello_extensions, parse_tls_plaintext,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const ID: &str = "dut-on-the-wire";

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

async fn honest_time() -> TimeServer {
    TimeServer::start(loopback(), Behaviour::default()).await.unwrap()
}

/// A device and an operator talk for two seconds; gives what passed the device's link, and what was said.
async fn recorded() -> (Recording, Vec<Message>) {
    let pki = Pki::new();
    let broker = Mosquitto::start(&pki).await;
    let proxy = Proxy::start(broker.port()).await;
    let mut operator = Operator::start(&pki, broker.port()).await;
    let time = honest_time().await;
    let flash = tempfile::tempdir().unwrap();
    let folder = pki.enrol(&configuration(ID, proxy.port(), time.address()));
    let mut dut = Dut::new(folder, flash.path().join("flash"));
    // Patient, so that one connection carries everything on a slow machine too.
    dut.policy = Policy::default();
    let mut running = dut.start();
    operator.until("forty samples", |book| book.samples.len() >= 40).await;
    // The other way too.
    for channel in ["command", "config/desired"] {
        operator.publish(&format!("device/{ID}/{channel}"), "something,that nobody,should,read").await;
    }
    running.until(|progress| progress.refused == 2).await;
    running.stop().await;
    operator.catch_up().await;
    let mut recordings = proxy.recordings();
    assert_eq!(recordings.len(), 1, "one connection carries everything");
    (recordings.remove(0), operator.book().messages)
}

/// Texts of at least six bytes that an eavesdropper would look for: topics, and the pieces of JSON between commas.
fn secrets(messages: &[Message]) -> BTreeSet<Vec<u8>> {
    let mut secrets = BTreeSet::from([ID.as_bytes().to_vec()]);
    for (topic, payload) in messages.iter().filter(|(topic, _)| topic.contains(ID)) {
        secrets.insert(topic.as_bytes().to_vec());
        secrets
            .extend(payload.split(|byte| *byte == b',').filter(|piece| piece.len() >= 6).map(<[u8]>::to_vec));
    }
    secrets
}

fn contains(text: &[u8], piece: &[u8]) -> bool {
    text.windows(piece.len()).any(|window| window == piece)
}

#[tokio::test]
async fn nothing_of_what_is_said_can_be_read_on_the_wire() {
    let (recording, messages) = recorded().await;
    let secrets = secrets(&messages);
    let said: usize = messages.iter().map(|(_, payload)| payload.len()).sum();
    let plain: Vec<u8> =
        messages.iter().flat_map(|(topic, payload)| [topic.as_bytes(), payload].concat()).collect();
    println!("{} bytes up, {} down, {} texts", recording.up.len(), recording.down.len(), secrets.len());
    assert!(recording.up.len() > said / 2 && secrets.len() > 20, "it did pass here");
    for secret in secrets {
        let text = String::from_utf8_lossy(&secret);
        assert!(contains(&plain, &secret), "{text} would be found");
        assert!(
            !contains(&recording.up, &secret) && !contains(&recording.down, &secret),
            "{text} can be read"
        );
    }
}

#[tokio::test]
async fn every_byte_both_ways_is_in_a_tls_record_and_after_the_hellos_all_are_encrypted() {
    let (recording, _) = recorded().await;
    for stream in [&recording.up, &recording.down] {
        let (records, rest) = records::split(stream).unwrap();
        assert_eq!(rest, [0_u8; 0], "the stream ends with a record");
        let kinds: Vec<u8> = records.iter().map(|record| record.kind).collect();
        let encrypted = records.iter().filter(|record| record.kind == APPLICATION_DATA).count();
        assert_eq!(kinds.first(), Some(&HANDSHAKE));
        assert!(encrypted > 10, "{kinds:?}");
        // A change_cipher_spec says nothing: one byte that is always 1.
        let empty =
            records.iter().filter(|record| record.kind == CHANGE_CIPHER_SPEC && record.bytes[5..] == [1]);
        assert_eq!(kinds.len(), 1 + encrypted + empty.count(), "{kinds:?}");
    }
}

#[tokio::test]
async fn the_client_hello_offers_only_the_allowed_versions_suites_and_groups() {
    let (recording, _) = recorded().await;
    let (_, record) = parse_tls_plaintext(&recording.up).unwrap();
    let [TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello))] = record.msg.as_slice() else {
        panic!("no ClientHello: {record:?}");
    };
    check_client_hello(hello);
}

fn check_client_hello(hello: &TlsClientHelloContents<'_>) {
    let suites: Vec<u16> = hello.ciphers.iter().map(|suite| suite.0).collect();
    // RFC 8446, appendix B.4.
    assert_eq!(suites, [0x1301], "AES-128-GCM of TLS 1.3: {suites:04x?}");
    assert_eq!(hello.comp.iter().map(|method| method.0).collect::<Vec<_>>(), [0], "no compression");

    let (_, extensions) = parse_tls_client_hello_extensions(hello.ext.unwrap()).unwrap();
    let mut seen = BTreeSet::new();
    for extension in &extensions {
        match extension {
            TlsExtension::SupportedVersions(versions) => {
                seen.insert("versions");
                assert_eq!(*versions, [TlsVersion::Tls13]);
            }
            TlsExtension::EllipticCurves(groups) => {
                seen.insert("groups");
                assert_eq!(*groups, [NamedGroup::Secp256r1]);
            }
            TlsExtension::SignatureAlgorithms(algorithms) => {
                seen.insert("signatures");
                // RFC 8446, section 4.2.3: ecdsa_secp256r1_sha256.
                assert_eq!(*algorithms, [0x0403]);
            }
            TlsExtension::SNI(names) => {
                seen.insert("name");
                let names: Vec<&[u8]> = names.iter().map(|(_, name)| *name).collect();
                assert_eq!(names, [endtoend::HOST.as_bytes()]);
            }
            TlsExtension::PreSharedKey(_) | TlsExtension::EarlyData(_) | TlsExtension::ALPN(_) => {
                panic!("{extension:?} is not needed")
            }
            _ => {}
        }
    }
    assert_eq!(seen, BTreeSet::from(["versions", "groups", "signatures", "name"]));
}

/// A server that speaks MQTT in clear and lets everybody in, before or after it has heard something. Gives what each
/// client sent.
async fn plain_server(waits: bool) -> (u16, mpsc::UnboundedReceiver<Vec<u8>>) {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (out, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut bytes = vec![0; 4096];
            let first = if waits { client.read(&mut bytes).await.unwrap_or(0) } else { 0 };
            bytes.truncate(first);
            let connack = [0x20, 2, 0, 0];
            // The client may have gone.
            if client.write_all(&connack).await.is_ok() {
                let _reset = client.read_to_end(&mut bytes).await;
            }
            if out.send(bytes).is_err() {
                return;
            }
        }
    });
    (port, heard)
}

async fn meets_a_plain_server(waits: bool) -> (Progress, Vec<Vec<u8>>) {
    let pki = Pki::new();
    let (port, mut heard) = plain_server(waits).await;
    let time = honest_time().await;
    let flash = tempfile::tempdir().unwrap();
    let folder = pki.enrol(&configuration(ID, port, time.address()));
    let mut running = Dut::new(folder, flash.path().join("flash")).start();
    let progress = running.until(|progress| progress.failures.len() >= 3).await;
    running.stop().await;
    let mut all = Vec::new();
    while all.len() < 3 {
        all.push(heard.recv().await.unwrap());
    }
    (progress, all)
}

#[tokio::test]
async fn a_server_without_tls_gets_a_client_hello_and_nothing_else() {
    for waits in [false, true] {
        let (progress, heard) = meets_a_plain_server(waits).await;
        println!("the device noted: {:?}", progress.failures);
        assert_eq!(progress.connections, 0);
        assert!(progress.failures.iter().all(|failure| failure.as_str().starts_with("tls_")), "{progress:?}");
        for bytes in heard {
            let (records, rest) = records::split(&bytes).unwrap();
            assert_eq!(rest, [0_u8; 0]);
            let (first, others) = records.split_first().expect("a ClientHello");
            let (_, record) = parse_tls_plaintext(first.bytes).unwrap();
            let [TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello))] = record.msg.as_slice()
            else {
                panic!("no ClientHello: {record:?}");
            };
            check_client_hello(hello);
            // An alert says that the handshake is over: two bytes.
            assert!(
                others.iter().all(|record| record.kind == ALERT && record.bytes.len() == 7),
                "{others:?}"
            );
            assert!(!contains(&bytes, b"MQTT") && !contains(&bytes, ID.as_bytes()));
        }
    }
}
