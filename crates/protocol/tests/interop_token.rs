//! Tokens against an independent implementation, PyJWT, both ways: what one writes, the other verifies.

mod python;

use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use protocol::key::Digest;
use protocol::token::{self, Claims, TOKEN_BYTES_MAX, TokenRefusal};
use protocol::{DeviceId, EpochMillis, PublicKey, Signature};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

const AUDIENCE: &str = "broker.example";
const SCALAR: [u8; 32] = [7; 32];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn public(scalar: &[u8; 32]) -> PublicKey {
    let key = SigningKey::from_slice(scalar).unwrap();
    PublicKey::new(key.verifying_key().to_sec1_point(false).as_bytes()).unwrap()
}

#[expect(clippy::unnecessary_wraps, reason = "a signer may fail")]
fn sign(digest: &Digest) -> Result<Signature, Infallible> {
    let key = SigningKey::from_slice(&SCALAR).unwrap();
    let signature: p256::ecdsa::Signature = key.sign_prehash(digest).unwrap();
    Ok(Signature::normalised(&signature.to_bytes()).unwrap())
}

/// PyJWT judges by this machine's clock.
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn written(issued_s: u64, expires_s: u64) -> String {
    let subject = DeviceId::new("dev-1").unwrap();
    let claims = Claims { issued_s, expires_s, audience: AUDIENCE, subject: &subject };
    let mut buffer = [0; TOKEN_BYTES_MAX];
    let len = token::encode(&claims, &mut buffer, sign).unwrap();
    String::from_utf8(buffer[..len].to_vec()).unwrap()
}

/// What PyJWT answers to these tasks.
fn pyjwt(tasks: &[Value]) -> Vec<Value> {
    let input = tasks.iter().fold(String::new(), |lines, task| format!("{lines}{task}\n"));
    let output = python::answers("interop/tokens.py", &input);
    let answers: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), tasks.len());
    answers
}

#[test]
fn pyjwt_verifies_what_a_device_writes_and_refuses_it_where_it_should() {
    let now = now_s();
    let good = written(now, now + 3600);
    let task = |token: &str, key: &PublicKey, audience: &str| json!({"do": "verify", "token": token, "public": hex(key.as_bytes()), "audience": audience});
    let (ours, theirs) = (public(&SCALAR), public(&[8; 32]));
    let answers = pyjwt(&[
        task(&good, &ours, AUDIENCE),
        task(&good, &theirs, AUDIENCE),
        task(&good, &ours, "other.example"),
        task(&written(now - 7200, now - 3600), &ours, AUDIENCE),
        task(&written(now + 3600, now + 7200), &ours, AUDIENCE),
    ]);
    let claims = json!({"iat": now, "exp": now + 3600, "aud": AUDIENCE, "sub": "dev-1"});
    assert_eq!(answers[0], json!({"claims": claims, "header": {"alg": "ES256", "typ": "JWT"}}));
    let errors =
        ["InvalidSignatureError", "InvalidAudienceError", "ExpiredSignatureError", "ImmatureSignatureError"];
    for (answer, error) in answers[1..].iter().zip(errors) {
        assert_eq!(answer["error"], error);
    }
}

/// Sixteen of them, because every other one has its s in the upper half.
#[test]
fn what_pyjwt_writes_is_verified() {
    let now = now_s();
    let tasks: Vec<Value> = (0..16)
        .map(|number| {
            json!({
                "do": "sign", "algorithm": "ES256", "scalar": hex(&SCALAR),
                "claims": {"iat": now + number, "exp": now + 600, "aud": AUDIENCE, "sub": "dev-1"},
                "headers": if number % 2 == 0 { json!(null) } else { json!({"kid": "a-name"}) },
            })
        })
        .collect();
    for (number, answer) in (0..).zip(pyjwt(&tasks)) {
        let text = answer.as_str().unwrap();
        let time = EpochMillis::from_seconds(now);
        let token = token::verify(text, &public(&SCALAR), AUDIENCE, time).unwrap();
        assert_eq!((token.subject().as_str(), token.issued_s()), ("dev-1", now + number));
        let other = token::verify(text, &public(&[8; 32]), AUDIENCE, time);
        assert_eq!(other, Err(TokenRefusal::Signature));
    }
}

#[test]
fn what_pyjwt_writes_without_a_signature_or_with_a_mac_of_the_public_key_is_refused() {
    let now = now_s();
    let key = public(&SCALAR);
    let task = |algorithm: &str, headers: Value| {
        json!({
            "do": "sign", "algorithm": algorithm, "secret": hex(key.as_bytes()), "scalar": hex(&SCALAR),
            "claims": {"iat": now, "exp": now + 600, "aud": AUDIENCE, "sub": "dev-1"}, "headers": headers,
        })
    };
    let answers = pyjwt(&[
        task("none", json!(null)),
        task("HS256", json!(null)),
        task("HS512", json!(null)),
        task("ES256", json!({"crit": ["exp"]})),
        task("ES256", json!({"jku": "https://example.org"})),
    ]);
    let refusals = [
        TokenRefusal::Algorithm,
        TokenRefusal::Algorithm,
        TokenRefusal::Algorithm,
        TokenRefusal::Critical,
        TokenRefusal::Header,
    ];
    for (answer, refusal) in answers.iter().zip(refusals) {
        let verdict = token::verify(answer.as_str().unwrap(), &key, AUDIENCE, EpochMillis::from_seconds(now));
        assert_eq!(verdict, Err(refusal));
    }
}
