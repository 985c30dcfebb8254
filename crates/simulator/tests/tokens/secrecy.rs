//! Nobody in the middle sees a token.

use super::bench::{Identity, connect, login};
use super::support::recorder::Recorder;
use super::support::{Authority, Leaf, server_params};
use protocol::Failure;
use rcgen::{ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};

/// Everything that is 16 characters of the token, or more.
pub fn betrays(heard: &[u8], token: &str) -> bool {
    let parts: std::collections::HashSet<&[u8]> = token.as_bytes().windows(16).collect();
    heard.windows(16).any(|window| parts.contains(window))
}

/// What a server that shows `leaf` hears of a device that believes `authority`, and how the attempt ends.
async fn overheard(authority: &Authority, leaf: Option<&Leaf>) -> (Result<(), Failure>, bool) {
    let recorder = Recorder::start(leaf).await;
    let token = Identity::new(1).good("dev-1");
    let login = Some(login("dev-1", &token));
    let verdict = connect(recorder.address.port(), authority.root(), "dev-1", login).await.map(drop);
    let heard = recorder.heard().await;
    assert!(!heard.is_empty(), "the recorder heard at least a ClientHello");
    (verdict, betrays(&heard, &token))
}

#[tokio::test]
async fn the_right_server_gets_the_token_so_that_the_recorder_would_hear_it() {
    let ours = Authority::new("ours");
    assert_eq!(overheard(&ours, Some(&ours.server(&["localhost"]))).await, (Ok(()), true));
}

#[tokio::test]
async fn a_man_in_the_middle_never_sees_a_token_whatever_certificate_he_shows() {
    let (ours, theirs, namesake) = (Authority::new("ours"), Authority::new("theirs"), Authority::new("ours"));
    let dated = |from: i32, to: i32| {
        let mut params = server_params(&["localhost"]);
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        ours.issue(&params)
    };
    let self_signed = {
        let key = KeyPair::generate().unwrap();
        let certificate = server_params(&["localhost"]).self_signed(&key).unwrap();
        let (chain_pem, key_pem) = (certificate.pem(), key.serialize_pem());
        Leaf { chain: vec![certificate.der().clone()], chain_pem, key_pem }
    };
    let mut client = server_params(&["localhost"]);
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    for (what, leaf, failure) in [
        ("another authority", theirs.server(&["localhost"]), Failure::TlsUnknownIssuer),
        ("an authority with our name", namesake.server(&["localhost"]), Failure::TlsSignature),
        ("another host", ours.server(&["other.example"]), Failure::TlsName),
        ("self-signed", self_signed, Failure::TlsSelfSigned),
        ("expired", dated(2020, 2021), Failure::TlsExpired),
        ("not yet valid", dated(2090, 2099), Failure::TlsNotYetValid),
        ("a client's", ours.issue(&client), Failure::TlsUsage),
    ] {
        assert_eq!(overheard(&ours, Some(&leaf)).await, (Err(failure), false), "{what}");
    }
    let (verdict, betrayed) = overheard(&ours, None).await;
    assert!(verdict.is_err() && !betrayed, "without TLS: {verdict:?}");
}
