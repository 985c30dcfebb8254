extern crate std;
use super::*;
use core::convert::Infallible;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use proptest::prelude::*;
use std::string::{String, ToString};
use std::vec::Vec;

const NOW: EpochMillis = EpochMillis::from_seconds(1_795_000_000);
const AUDIENCE: &str = "broker.example";
const GOOD_HEADER: &str = r#"{"alg":"ES256","typ":"JWT"}"#;

struct TestKey(SigningKey);

impl TestKey {
    fn new(seed: u8) -> Self {
        Self(SigningKey::from_slice(&[seed; 32]).unwrap())
    }

    fn public(&self) -> PublicKey {
        PublicKey::new(self.0.verifying_key().to_sec1_point(false).as_bytes()).unwrap()
    }

    fn sign(&self, digest: &Digest) -> Signature {
        let signature: p256::ecdsa::Signature = self.0.sign_prehash(digest).unwrap();
        Signature::normalised(&signature.to_bytes()).unwrap()
    }
}

/// Signs with the key that [`judge`] believes.
#[expect(clippy::unnecessary_wraps, reason = "a signer may fail")]
fn by_seven(digest: &Digest) -> Result<Signature, Infallible> {
    Ok(TestKey::new(7).sign(digest))
}

fn base64(bytes: &[u8]) -> String {
    let mut buffer = [0; 2 * TOKEN_BYTES_MAX];
    Base64UrlUnpadded::encode(bytes, &mut buffer).unwrap().to_string()
}

/// A token with this header and these claims, rightly signed.
fn signed(header: &str, claims: &str) -> String {
    let parts = std::format!("{}.{}", base64(header.as_bytes()), base64(claims.as_bytes()));
    let signature = TestKey::new(7).sign(&sha256(&[parts.as_bytes()]));
    std::format!("{parts}.{}", base64(signature.as_bytes()))
}

/// Claims with a life around [`NOW`].
fn claims(from_now_s: i64, life_s: u64) -> String {
    let iat = NOW.seconds().saturating_add_signed(from_now_s);
    std::format!(r#"{{"iat":{iat},"exp":{},"aud":"{AUDIENCE}","sub":"dev-1"}}"#, iat.saturating_add(life_s))
}

fn judge(token: &str) -> Result<VerifiedToken, TokenRefusal> {
    verify(token, &TestKey::new(7).public(), AUDIENCE, NOW)
}

fn written(claims: &Claims<'_>) -> String {
    let mut buffer = [0; TOKEN_BYTES_MAX];
    let len = encode(claims, &mut buffer, by_seven).unwrap();
    std::str::from_utf8(&buffer[..len]).unwrap().to_string()
}

#[test]
fn a_token_is_verified_as_it_was_written() {
    let subject = DeviceId::new("dev-1").unwrap();
    let iat = NOW.seconds();
    let token =
        written(&Claims { issued_s: iat, expires_s: iat + 3600, audience: AUDIENCE, subject: &subject });
    assert_eq!(token.split('.').next(), Some(base64(GOOD_HEADER.as_bytes()).as_str()));
    assert!(token.starts_with("eyJ"), "the vault's separation of what it signs rests on this");
    let verified = judge(&token).unwrap();
    assert_eq!((verified.subject(), verified.issued_s(), verified.expires_s()), (&subject, iat, iat + 3600));
}

#[test]
fn the_longest_claims_fit_and_longer_ones_are_an_error() {
    let subject = DeviceId::new(&"x".repeat(DeviceId::MAX_LEN)).unwrap();
    let audience = "a".repeat(AUDIENCE_BYTES_MAX + 1);
    let longest =
        Claims { issued_s: u64::MAX - 1, expires_s: u64::MAX, audience: &audience[1..], subject: &subject };
    assert_eq!(written(&longest).len(), 350);
    let short = DeviceId::new("x").unwrap();
    let longer = Claims { audience: &audience, subject: &short, ..longest };
    let mut buffer = [0; TOKEN_BYTES_MAX];
    let refused = encode(&longer, &mut buffer, by_seven);
    assert!(matches!(refused, Err(SealError::TooLong)));
}

#[test]
fn a_buffer_that_is_too_short_and_a_signer_that_fails_are_told_apart() {
    let subject = DeviceId::new("dev-1").unwrap();
    let claims = Claims { issued_s: 1, expires_s: 2, audience: AUDIENCE, subject: &subject };
    for short in 0..written(&claims).len() {
        let refused = encode(&claims, &mut [0; TOKEN_BYTES_MAX][..short], by_seven);
        assert!(matches!(refused, Err(SealError::TooLong)), "{short} bytes");
    }
    let refused = encode(&claims, &mut [0; TOKEN_BYTES_MAX], |_| Err("no key"));
    assert!(matches!(refused, Err(SealError::Signer("no key"))));
}

#[test]
fn an_expired_token_is_refused_once_the_clocks_cannot_be_to_blame() {
    let skew = SKEW_S as i64;
    assert!(judge(&signed(GOOD_HEADER, &claims(-600 - skew + 1, 600))).is_ok());
    assert_eq!(judge(&signed(GOOD_HEADER, &claims(-600 - skew, 600))), Err(TokenRefusal::Expired));
}

#[test]
fn a_token_from_the_future_is_refused_once_the_clocks_cannot_be_to_blame() {
    let skew = SKEW_S as i64;
    assert!(judge(&signed(GOOD_HEADER, &claims(skew, 600))).is_ok());
    assert_eq!(judge(&signed(GOOD_HEADER, &claims(skew + 1, 600))), Err(TokenRefusal::NotYetValid));
}

#[test]
fn a_token_that_lives_longer_than_an_hour_or_not_at_all_is_refused() {
    assert!(judge(&signed(GOOD_HEADER, &claims(0, LIFE_S_MAX))).is_ok());
    for life in [0, LIFE_S_MAX + 1, 86_400, u64::MAX] {
        assert_eq!(judge(&signed(GOOD_HEADER, &claims(0, life))), Err(TokenRefusal::Life), "{life} s");
    }
    let backwards =
        claims(0, 600).replace("\"iat\"", "\"x\"").replace("\"exp\"", "\"iat\"").replace("\"x\"", "\"exp\"");
    assert_eq!(judge(&signed(GOOD_HEADER, &backwards)), Err(TokenRefusal::Life));
}

#[test]
fn a_token_for_another_audience_is_refused() {
    for other in ["other.example", "", "broker.example.org", "Broker.example"] {
        let claims = claims(0, 600).replace(AUDIENCE, other);
        assert_eq!(judge(&signed(GOOD_HEADER, &claims)), Err(TokenRefusal::Audience), "{other}");
    }
}

#[test]
fn a_token_of_another_key_is_refused() {
    let token = signed(GOOD_HEADER, &claims(0, 600));
    let verdict = verify(&token, &TestKey::new(8).public(), AUDIENCE, NOW);
    assert_eq!(verdict, Err(TokenRefusal::Signature));
}

#[test]
fn a_subject_that_is_no_device_is_refused() {
    for subject in ["", "operator", "a/b", "dev\\u002d1"] {
        let claims = claims(0, 600).replace("dev-1", subject);
        assert_eq!(judge(&signed(GOOD_HEADER, &claims)), Err(TokenRefusal::Subject), "{subject}");
    }
}

#[test]
fn an_unsigned_token_is_refused() {
    let parts = |alg: &str| {
        let header = std::format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#);
        std::format!("{}.{}", base64(header.as_bytes()), base64(claims(0, 600).as_bytes()))
    };
    for none in ["none", "None", "NONE", ""] {
        assert_eq!(judge(&std::format!("{}.", parts(none))), Err(TokenRefusal::Algorithm), "{none}");
    }
    assert_eq!(judge(&std::format!("{}.", parts("ES256"))), Err(TokenRefusal::Signature));
    assert_eq!(judge(&parts("none")), Err(TokenRefusal::Form));
}

#[test]
fn a_token_under_another_algorithm_is_refused_even_where_the_signature_is_right() {
    for alg in ["HS256", "ES384", "ES256K", "RS256", "PS256", "EdDSA", "es256", "ES256 ", "\\u0045S256"] {
        let header = std::format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#);
        assert_eq!(judge(&signed(&header, &claims(0, 600))), Err(TokenRefusal::Algorithm), "{alg}");
    }
}

/// Algorithm confusion: the public key, which everybody knows, as the secret of a MAC. RFC 8725, section 2.1.
#[test]
fn a_token_whose_mac_was_made_with_the_public_key_is_refused() {
    let key = TestKey::new(7).public();
    for (header, expected) in
        [(r#"{"alg":"HS256","typ":"JWT"}"#, TokenRefusal::Algorithm), (GOOD_HEADER, TokenRefusal::Signature)]
    {
        let parts = std::format!("{}.{}", base64(header.as_bytes()), base64(claims(0, 600).as_bytes()));
        let token = std::format!("{parts}.{}", base64(&hmac(key.as_bytes(), parts.as_bytes())));
        assert_eq!(judge(&token), Err(expected), "{header}");
    }
}

/// HMAC-SHA-256 (RFC 2104) with a key of 65 bytes, which is hashed first.
fn hmac(key: &[u8], message: &[u8]) -> Digest {
    let mut block = [0; 64];
    block[..32].copy_from_slice(&sha256(&[key]));
    let inner = sha256(&[&block.map(|byte| byte ^ 0x36), message]);
    sha256(&[&block.map(|byte| byte ^ 0x5c), &inner])
}

#[test]
fn a_header_without_its_algorithm_or_with_two_or_with_unknown_members_is_refused() {
    for header in [
        r#"{"typ":"JWT"}"#,
        r#"{"alg":null}"#,
        r#"{"alg":["ES256"]}"#,
        r#"{"alg":"ES256","alg":"ES256"}"#,
        r#"{"alg":"none","alg":"ES256"}"#,
        r#"{"Alg":"ES256"}"#,
        r#"{"alg":"ES256","jwk":"x"}"#,
        r#"{"alg":"ES256","jku":"https://example"}"#,
        r#"{"alg":"ES256","x5u":"https://example"}"#,
        r#"{"alg":"ES256","b64":false}"#,
        r#"{"alg":"ES256"} {}"#,
        r#"{"alg":"ES256",}"#,
        r#"[{"alg":"ES256"}]"#,
        "",
        "ES256",
    ] {
        assert_eq!(judge(&signed(header, &claims(0, 600))), Err(TokenRefusal::Header), "{header}");
    }
}

#[test]
fn a_header_with_type_and_key_name_is_allowed_in_any_order() {
    for header in
        [r#"{"alg":"ES256"}"#, r#"{"typ":"JWT","kid":"1","alg":"ES256"}"#, r#" { "alg" : "ES256" } "#]
    {
        assert!(judge(&signed(header, &claims(0, 600))).is_ok(), "{header}");
    }
}

#[test]
fn a_header_that_demands_an_extension_is_refused() {
    for crit in [r#"["exp"]"#, "[]", "null", "1"] {
        let header = std::format!(r#"{{"alg":"ES256","crit":{crit}}}"#);
        assert_eq!(judge(&signed(&header, &claims(0, 600))), Err(TokenRefusal::Critical), "{header}");
    }
}

#[test]
fn a_missing_doubled_unknown_or_mistyped_claim_is_refused() {
    let good = claims(0, 600);
    let mut bad: Vec<String> = ["iat", "exp", "aud", "sub"]
        .map(|claim| {
            let start = good.find(&std::format!("\"{claim}\"")).unwrap();
            let len = good[start..].find([',', '}']).unwrap();
            let cut = std::format!("{}{}", &good[..start], good[start + len..].trim_start_matches(','));
            cut.replace(",}", "}")
        })
        .to_vec();
    let (iat, exp) = (NOW.seconds(), NOW.seconds() + 600);
    bad.push(good.replace('}', r#","nbf":1}"#));
    bad.push(good.replace('}', r#","exp":99999999999}"#));
    bad.push(good.replace(&iat.to_string(), &std::format!("{iat}.0")));
    bad.push(good.replace(&iat.to_string(), &std::format!("-{iat}")));
    bad.push(good.replace(&exp.to_string(), &std::format!("\"{exp}\"")));
    bad.push(good.replace(&exp.to_string(), "1e99"));
    bad.push(good.replace(&exp.to_string(), "99999999999999999999999"));
    bad.push(good.replace(&exp.to_string(), &std::format!("0{exp}")));
    bad.push(good.replace("\"broker.example\"", "[\"broker.example\"]"));
    bad.push(std::format!("{good}{good}"));
    bad.push(String::new());
    for claims in bad {
        assert_ne!(claims, good);
        assert_eq!(judge(&signed(GOOD_HEADER, &claims)), Err(TokenRefusal::Claims), "{claims}");
    }
}

#[test]
fn another_form_than_three_parts_in_base64url_is_refused() {
    let good = signed(GOOD_HEADER, &claims(0, 600));
    let (parts, signature) = good.rsplit_once('.').unwrap();
    for token in [
        String::new(),
        ".".into(),
        parts.into(),
        std::format!(".{good}"),
        std::format!("{parts}..{signature}"),
        std::format!(" {good}"),
        good.replacen("eyJ", "ey=", 1),
    ] {
        assert_eq!(judge(&token), Err(TokenRefusal::Form), "{token}");
    }
    for token in
        [std::format!("{good}."), std::format!("{good}="), std::format!("{good}\n"), std::format!("{good}AA")]
    {
        assert!(judge(&token).is_err(), "{token}");
    }
    let long = "a".repeat(TOKEN_BYTES_MAX + 1);
    assert_eq!(judge(&long), Err(TokenRefusal::TooLong));
    assert_eq!(judge(&long[1..]), Err(TokenRefusal::Form));
}

#[test]
fn a_signature_turned_around_is_taken_as_every_other_library_takes_it() {
    let good = signed(GOOD_HEADER, &claims(0, 600));
    let (parts, _) = good.rsplit_once('.').unwrap();
    let signature = TestKey::new(7).sign(&sha256(&[parts.as_bytes()]));
    let signature = p256::ecdsa::Signature::from_slice(signature.as_bytes()).unwrap();
    let (r, s) = signature.split_scalars();
    let turned = p256::ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
    assert_ne!(turned, signature);
    assert!(judge(&std::format!("{parts}.{}", base64(&turned.to_bytes()))).is_ok());
    let zero = base64(&[0; 64]);
    assert_eq!(judge(&std::format!("{parts}.{zero}")), Err(TokenRefusal::Signature));
}

#[test]
fn every_changed_character_is_refused() {
    let good = signed(GOOD_HEADER, &claims(0, 600));
    for at in 0..good.len() {
        for with in ['A', 'B', '-', '.', '=', '\n', '\0'] {
            let mut token = good.clone();
            token.replace_range(at..=at, &with.to_string());
            assert!(token == good || judge(&token).is_err(), "character {at} as {with:?}");
        }
    }
}

#[test]
fn every_refusal_has_its_own_name_and_sentence() {
    for refusal in TokenRefusal::ALL {
        assert_eq!(TokenRefusal::from_wire(refusal.as_str()), Some(*refusal));
        assert_eq!(
            TokenRefusal::ALL.iter().filter(|other| other.to_string() == refusal.to_string()).count(),
            1
        );
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(token in "\\PC{0,600}", dotted in "[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,200}\\.[A-Za-z0-9_-]{0,90}") {
        prop_assert!(judge(&token).is_err());
        prop_assert!(judge(&dotted).is_err());
    }

    #[test]
    fn arbitrary_parts_never_panic_also_where_the_signature_is_right(header in "\\PC{0,40}", claims in "\\PC{0,80}") {
        prop_assert!(judge(&signed(&header, &claims)).is_err());
        prop_assert!(judge(&signed(GOOD_HEADER, &claims)).is_err());
    }
}
