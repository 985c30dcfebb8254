//! Logging in with a token at the embedded broker, over the device's own TLS and MQTT: who is let in, every wrong token
//! by its name, and that nobody in the middle sees one. R-TLS-CLIENT, R-TLS-SERVER.

mod bench;
mod secrecy;
#[path = "../support/mod.rs"]
mod support;

use bench::{AUDIENCE, Identity, Service, connect, event, login, now};
use protocol::Failure;
use protocol::key::{Digest, sha256};
use protocol::token::{LIFE_S_MAX, SKEW_S, TokenRefusal};
use secrecy::betrays;
use simulator::broker::tokens::LoginRefusal;
use simulator::mqtt::LinkEvent;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use support::Authority;

fn refusal(why: TokenRefusal) -> (Failure, String) {
    (Failure::MqttCredentials, why.to_string())
}

#[tokio::test]
async fn devices_with_good_tokens_are_let_in_and_talk_to_each_other() {
    let service = Service::start();
    let token = Identity::new(1).good("dev-1");
    let mut first = service.log_in("dev-1", Some(login("dev-1", &token))).await.unwrap();
    first.subscribe(["device/dev-2/telemetry".to_owned()]).unwrap();
    assert_eq!(event(&mut first).await, LinkEvent::Subscribed { granted: true });
    let token = Identity::new(2).good("dev-2");
    let mut second = service.log_in("dev-2", Some(login("dev-2", &token))).await.unwrap();
    second.publish(7, "device/dev-2/telemetry", b"{}", false).unwrap();
    assert_eq!(event(&mut second).await, LinkEvent::Acknowledged(7));
    let message = LinkEvent::Message { topic: "device/dev-2/telemetry".to_owned(), payload: b"{}".to_vec() };
    assert_eq!(event(&mut first).await, message);
    assert!(service.refusals.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    let token = Identity::new(1).token("dev-1", AUDIENCE, -600 - SKEW_S as i64, 600);
    assert_eq!(Service::start().refused_token(&token).await, refusal(TokenRefusal::Expired));
}

#[tokio::test]
async fn a_token_that_is_not_yet_valid_is_refused() {
    // A minute more, so that a slow machine does not get there.
    let token = Identity::new(1).token("dev-1", AUDIENCE, SKEW_S as i64 + 60, 600);
    assert_eq!(Service::start().refused_token(&token).await, refusal(TokenRefusal::NotYetValid));
}

#[tokio::test]
async fn a_token_for_another_service_is_refused() {
    let token = Identity::new(1).token("dev-1", "other.example", 0, 600);
    assert_eq!(Service::start().refused_token(&token).await, refusal(TokenRefusal::Audience));
}

#[tokio::test]
async fn a_token_that_lives_longer_than_an_hour_is_refused() {
    let service = Service::start();
    let token = Identity::new(1).token("dev-1", AUDIENCE, 0, LIFE_S_MAX + 1);
    assert_eq!(service.refused_token(&token).await, refusal(TokenRefusal::Life));
    let token = Identity::new(1).token("dev-1", AUDIENCE, 0, LIFE_S_MAX);
    assert!(service.log_in("dev-1", Some(login("dev-1", &token))).await.is_ok());
}

#[tokio::test]
async fn a_token_of_an_unknown_key_is_refused() {
    let token = Identity::new(9).good("dev-1");
    assert_eq!(Service::start().refused_token(&token).await, refusal(TokenRefusal::Signature));
}

#[tokio::test]
async fn another_devices_token_is_refused_under_this_client_identifier() {
    let service = Service::start();
    let theirs = Identity::new(2).good("dev-2");
    assert_eq!(service.refused_token(&theirs).await, refusal(TokenRefusal::Signature));
    // Signed with its own key, but stating another device.
    let lying = Identity::new(1).good("dev-2");
    let told = (Failure::MqttCredentials, LoginRefusal::Subject.to_string());
    assert_eq!(service.refused_token(&lying).await, told);
}

/// A token with this header; `sign` makes its signature of what is signed.
fn crafted(header: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    use base64ct::{Base64UrlUnpadded, Encoding};
    let (iat, encode) = (now().seconds(), Base64UrlUnpadded::encode_string);
    let claims = format!(r#"{{"iat":{iat},"exp":{},"aud":"{AUDIENCE}","sub":"dev-1"}}"#, iat + 600);
    let signed = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
    let signature = encode(&sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

#[tokio::test]
async fn an_unsigned_token_is_refused() {
    let service = Service::start();
    for alg in ["none", "None"] {
        let token = crafted(&format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#), |_| Vec::new());
        assert_eq!(service.refused_token(&token).await, refusal(TokenRefusal::Algorithm), "{alg}");
    }
}

/// Algorithm confusion (RFC 8725, section 2.1): a MAC whose secret is the public key.
#[tokio::test]
async fn a_token_with_a_mac_of_the_public_key_is_refused() {
    let service = Service::start();
    let key = Identity::new(1).public();
    let mac = |message: &[u8]| hmac(key.as_bytes(), message).to_vec();
    let token = crafted(r#"{"alg":"HS256","typ":"JWT"}"#, mac);
    assert_eq!(service.refused_token(&token).await, refusal(TokenRefusal::Algorithm));
    let token = crafted(r#"{"alg":"ES256","typ":"JWT"}"#, mac);
    assert_eq!(service.refused_token(&token).await, refusal(TokenRefusal::Signature));
    let right = |message: &[u8]| Identity::new(1).sign(&sha256(&[message])).as_bytes().to_vec();
    let token = crafted(r#"{"alg":"ES256","typ":"JWT"}"#, right);
    assert!(service.log_in("dev-1", Some(login("dev-1", &token))).await.is_ok());
}

/// HMAC-SHA-256 (RFC 2104) with a key of more than 64 bytes, which is hashed first.
fn hmac(key: &[u8], message: &[u8]) -> Digest {
    let mut block = [0; 64];
    block[..32].copy_from_slice(&sha256(&[key]));
    let inner = sha256(&[&block.map(|byte| byte ^ 0x36), message]);
    sha256(&[&block.map(|byte| byte ^ 0x5c), &inner])
}

#[tokio::test]
async fn a_login_without_a_token_or_under_another_name_is_refused() {
    let service = Service::start();
    let none = (Failure::MqttCredentials, LoginRefusal::NoToken.to_string());
    assert_eq!(service.refused("dev-1", None).await, none);
    assert_eq!(service.refused("dev-1", Some(login("dev-1", ""))).await, none);
    let token = Identity::new(1).good("dev-1");
    let other = (Failure::MqttCredentials, LoginRefusal::UserName.to_string());
    assert_eq!(service.refused("dev-1", Some(login("dev-2", &token))).await, other);
    assert_eq!(service.refused("operator", Some(login("operator", &token))).await.0, Failure::MqttIdentifier);
    let nobody = (Failure::MqttNotAuthorised, LoginRefusal::Unregistered.to_string());
    assert_eq!(service.refused("dev-9", Some(login("dev-9", &token))).await, nobody);
}

#[tokio::test]
async fn a_revoked_key_is_refused_and_the_devices_other_key_is_not() {
    let service = Service::start();
    let (old, new) = (Identity::new(1), Identity::new(3));
    service.register("dev-1", &new);
    for key in [&old, &new] {
        assert!(service.log_in("dev-1", Some(login("dev-1", &key.good("dev-1")))).await.is_ok());
    }
    service.revoke("dev-1", &old);
    assert_eq!(service.refused_token(&old.good("dev-1")).await, refusal(TokenRefusal::Signature));
    assert!(service.log_in("dev-1", Some(login("dev-1", &new.good("dev-1")))).await.is_ok());
    service.revoke("dev-1", &new);
    let (failure, told) = service.refused_token(&new.good("dev-1")).await;
    assert_eq!((failure, told), (Failure::MqttNotAuthorised, LoginRefusal::Unregistered.to_string()));
}

#[tokio::test]
async fn a_registry_that_cannot_be_read_lets_nobody_in() {
    let service = Service::start();
    service.append("{\"event\":\"revo");
    let (failure, told) = service.refused_token(&Identity::new(1).good("dev-1")).await;
    assert_eq!(failure, Failure::MqttUnavailable);
    assert!(told.contains("line 3") && told.contains("registry.jsonl"), "{told}");
}

#[tokio::test]
async fn a_connection_ends_when_its_token_does() {
    let service = Service::start();
    // Two seconds before the broker's patience with clocks is over.
    let token = Identity::new(1).token("dev-1", AUDIENCE, 2 - 600 - SKEW_S as i64, 600);
    let mut link = service.log_in("dev-1", Some(login("dev-1", &token))).await.unwrap();
    assert_eq!(event(&mut link).await, LinkEvent::Failed(Failure::PeerClosed));
    let (_, told) = service.refused_token(&token).await;
    assert_eq!(told, TokenRefusal::Expired.to_string());
}

#[tokio::test]
async fn the_program_says_who_was_refused_and_why_but_never_a_token() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ours"));
    authority.write_folder(folder.path());
    let mut broker = Command::new(env!("CARGO_BIN_EXE_simulator"))
        .args(["broker", "--port", "0", "--token-port", "0", "--audience", AUDIENCE, "--ca"])
        .arg(folder.path())
        .arg("--registry")
        .arg(folder.path().join("registry.jsonl"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(broker.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let (ports, token_port) = ready.trim().split_once(" token_port=").expect("both ports");
    assert!(ports.starts_with("ready broker port="), "{ready}");
    let token = Identity::new(1).good("dev-1");
    let login = Some(login("dev-1", &token));
    let verdict = connect(token_port.parse().unwrap(), authority.root(), "dev-1", login).await.map(drop);
    broker.kill().unwrap();
    let mut said = String::new();
    broker.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    broker.wait().unwrap();
    assert_eq!(verdict, Err(Failure::MqttNotAuthorised));
    assert!(said.contains("dev-1") && said.contains(&LoginRefusal::Unregistered.to_string()), "{said}");
    assert!(!betrays(said.as_bytes(), &token), "{said}");
}

#[test]
fn a_broken_registry_and_a_port_without_one_are_named_at_the_start() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ours"));
    authority.write_folder(folder.path());
    let registry = folder.path().join("registry.jsonl");
    std::fs::write(&registry, "{}\n").unwrap();
    let refused = |arguments: &[&str]| {
        let mut broker = Command::new(env!("CARGO_BIN_EXE_simulator"));
        let output = broker.args(["broker", "--ca"]).arg(folder.path()).args(arguments).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let said = refused(&["--registry", registry.to_str().unwrap()]);
    assert!(said.contains("line 1") && said.contains("registry.jsonl"), "{said}");
    for alone in [["--token-port", "1"], ["--audience", "broker.example"]] {
        assert!(refused(&alone).contains("--registry"), "{alone:?}");
    }
}
