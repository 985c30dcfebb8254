//! Tokens: JSON Web Tokens (RFC 7519) in the compact serialisation (RFC 7515, section 3.1), signed with ES256, with which a
//! device logs in by its identity key. Owns their form and the rules by which one is believed, never a key. R-TLS-CLIENT.
//!
//! A token is a secret for as long as it lives: nothing here writes one anywhere, and no error repeats a part of one.

use crate::endpoint::HOST_MAX;
use crate::json;
use crate::key::{Digest, SIGNATURE_BYTES, sha256};
use crate::reason::named;
use crate::signed::SealError;
use crate::{DeviceId, EpochMillis, PublicKey, Signature};
use base64ct::{Base64UrlUnpadded, Encoding};
use core::fmt;
use serde::{Deserialize, Serialize};

/// Longest token in bytes. Ours have at most 350; the rest is for a `kid` that others put into the header.
pub const TOKEN_BYTES_MAX: usize = 512;

/// Longest audience in bytes: a host name.
pub const AUDIENCE_BYTES_MAX: usize = HOST_MAX;

/// Longest life of a token in seconds: what a stolen one is worth, at most.
pub const LIFE_S_MAX: u64 = 3600;

/// By how many seconds the clocks of device and service may differ. A device's clock is set by SNTP, whose answer is off by
/// half the round trip at most, and drifts by less than 10 s a day (100 ppm); a minute covers both over the days for which
/// a device may be without a time server, and lengthens a token's life by less than 2 %.
pub const SKEW_S: u64 = 60;

/// The one header that is written.
const HEADER: &[u8] = br#"{"alg":"ES256","typ":"JWT"}"#;

/// The one algorithm.
const ALGORITHM: &str = "ES256";

/// Longest header or list of claims in bytes, decoded.
const PART_BYTES_MAX: usize = TOKEN_BYTES_MAX / 4 * 3;

/// Longest list of claims that is written, in bytes: 33, two numbers of 20 digits, an audience and an id. No audience has a
/// character that JSON escapes, as no host name has.
const CLAIMS_BYTES_MAX: usize = 33 + 2 * 20 + AUDIENCE_BYTES_MAX + DeviceId::MAX_LEN;

/// What a token states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims<'a> {
    /// `iat`: when it was made, seconds since 1970.
    pub issued_s: u64,
    /// `exp`: from when on it is worth nothing, seconds since 1970; at most [`LIFE_S_MAX`] after `issued_s`.
    pub expires_s: u64,
    /// `aud`: for whom; at most [`AUDIENCE_BYTES_MAX`] bytes.
    pub audience: &'a str,
    /// `sub`: who logs in.
    pub subject: &'a DeviceId,
}

named! {
    /// Why a token was refused.
    TokenRefusal {
        TooLong = "too_long", "the token is longer than any token of a device";
        Form = "form", "the token is not three parts in base64url without padding";
        Header = "header", "the token's header is not one of alg, typ and kid alone";
        Algorithm = "algorithm", "the token says that it is signed with another algorithm than ES256";
        Critical = "critical", "the token's header demands an extension that is not known here (crit)";
        Signature = "signature", "the token's signature is not one of this device's key";
        Claims = "claims", "the token's claims are not exactly iat, exp, aud and sub, the times as whole seconds";
        Subject = "subject", "the token's subject is no device id";
        Audience = "audience", "the token is for another service";
        Life = "life", "the token expires before it begins or lives longer than an hour";
        Expired = "expired", "the token has expired; is the device's clock right?";
        NotYetValid = "not_yet_valid", "the token is from the future; is the device's clock right?";
    }
}

impl core::error::Error for TokenRefusal {}

/// What a token states whose signature and claims are right. Made by [`verify`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedToken {
    subject: DeviceId,
    issued_s: u64,
    expires_s: u64,
}

impl VerifiedToken {
    /// Who logs in.
    pub const fn subject(&self) -> &DeviceId {
        &self.subject
    }

    /// When it was made, seconds since 1970.
    pub const fn issued_s(&self) -> u64 {
        self.issued_s
    }

    /// From when on it is worth nothing, seconds since 1970, without [`SKEW_S`].
    pub const fn expires_s(&self) -> u64 {
        self.expires_s
    }
}

/// Writes a token into `out` and gives its length in bytes, at most [`TOKEN_BYTES_MAX`]; it is ASCII. `sign` gets SHA-256 of
/// header and claims.
pub fn encode<E>(
    claims: &Claims<'_>,
    out: &mut [u8],
    sign: impl FnOnce(&Digest) -> Result<Signature, E>,
) -> Result<usize, SealError<E>> {
    let Claims { issued_s: iat, expires_s: exp, audience: aud, subject } = *claims;
    if aud.len() > AUDIENCE_BYTES_MAX {
        return Err(SealError::TooLong);
    }
    let mut json = [0; CLAIMS_BYTES_MAX];
    let len = json::encode(&WireClaims { iat, exp, aud, sub: subject.as_str() }, &mut json)
        .map_err(|_| SealError::TooLong)?;
    let json = json.get(..len).ok_or(SealError::TooLong)?;
    let mut writer = Writer { out, len: 0 };
    writer
        .part(HEADER)
        .and_then(|()| writer.dot())
        .and_then(|()| writer.part(json))
        .ok_or(SealError::TooLong)?;
    let digest = sha256(&[writer.written()]);
    let signature = sign(&digest).map_err(SealError::Signer)?;
    writer.dot().and_then(|()| writer.part(signature.as_bytes())).ok_or(SealError::TooLong)?;
    Ok(writer.len)
}

/// Verifies that `token` was signed with `key`, is for `audience` and is alive at `now`. Whether its subject is the one
/// that logs in, and whether `key` is a key of that device, is the caller's to compare.
///
/// A signature is taken with s in either half: RFC 7518 leaves that to chance, and so does every other library. Whoever
/// turns s around has the token already, and replaying it needs no other one.
pub fn verify(
    token: &str,
    key: &PublicKey,
    audience: &str,
    now: EpochMillis,
) -> Result<VerifiedToken, TokenRefusal> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenRefusal::TooLong);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenRefusal::Form)?;
    let (header, claims) = signed.split_once('.').ok_or(TokenRefusal::Form)?;
    let (mut header_json, mut claims_json) = ([0; PART_BYTES_MAX], [0; PART_BYTES_MAX]);
    let header = decode_part(header, &mut header_json)?;
    let claims = decode_part(claims, &mut claims_json)?;
    check_header(header)?;
    let mut bytes = [0; SIGNATURE_BYTES];
    let signature = decode_part(signature, &mut bytes).map_err(|_| TokenRefusal::Signature)?;
    let signature = Signature::normalised(signature).map_err(|_| TokenRefusal::Signature)?;
    if !key.verifies(&sha256(&[signed.as_bytes()]), &signature) {
        return Err(TokenRefusal::Signature);
    }
    check_claims(claims, audience, now)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireClaims<'a> {
    iat: u64,
    exp: u64,
    aud: &'a str,
    sub: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireHeader<'a> {
    alg: &'a str,
    #[serde(default)]
    #[expect(dead_code, reason = "allowed to be there; says nothing that is not known")]
    typ: Option<&'a str>,
    #[serde(default)]
    #[expect(dead_code, reason = "allowed to be there; the key is found by who logs in")]
    kid: Option<&'a str>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

/// True for a member with whatever value, `null` included.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| true)
}

fn check_header(bytes: &[u8]) -> Result<(), TokenRefusal> {
    let header: WireHeader<'_> = json::decode(bytes, PART_BYTES_MAX).map_err(|_| TokenRefusal::Header)?;
    if header.crit {
        return Err(TokenRefusal::Critical);
    }
    if header.alg == ALGORITHM { Ok(()) } else { Err(TokenRefusal::Algorithm) }
}

fn check_claims(bytes: &[u8], audience: &str, now: EpochMillis) -> Result<VerifiedToken, TokenRefusal> {
    let WireClaims { iat, exp, aud, sub } =
        json::decode(bytes, PART_BYTES_MAX).map_err(|_| TokenRefusal::Claims)?;
    let subject = DeviceId::new(sub).map_err(|_| TokenRefusal::Subject)?;
    if aud != audience {
        return Err(TokenRefusal::Audience);
    }
    if exp <= iat || exp - iat > LIFE_S_MAX {
        return Err(TokenRefusal::Life);
    }
    if now >= EpochMillis::from_seconds(exp.saturating_add(SKEW_S)) {
        return Err(TokenRefusal::Expired);
    }
    if EpochMillis::from_seconds(iat) > now.offset((SKEW_S * 1000) as i64) {
        return Err(TokenRefusal::NotYetValid);
    }
    Ok(VerifiedToken { subject, issued_s: iat, expires_s: exp })
}

fn decode_part<'o>(part: &str, out: &'o mut [u8]) -> Result<&'o [u8], TokenRefusal> {
    Base64UrlUnpadded::decode(part, out).map_err(|_| TokenRefusal::Form)
}

/// What is written so far. Every step gives `None` where there is no room.
struct Writer<'o> {
    out: &'o mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn part(&mut self, bytes: &[u8]) -> Option<()> {
        let text = Base64UrlUnpadded::encode(bytes, self.out.get_mut(self.len..)?).ok()?;
        self.len += text.len();
        Some(())
    }

    fn dot(&mut self) -> Option<()> {
        *self.out.get_mut(self.len)? = b'.';
        self.len += 1;
        Some(())
    }

    fn written(&self) -> &[u8] {
        self.out.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
