//! Every server that the device must not believe, one test each, over the real path: SNTP, TCP, TLS, MQTT. Each kind
//! has its positive control: the same set-up without the one fault is let in. R-TLS-SERVER, R-TLS-CIPHERS,
//! R-TLS-CLIENT.

mod support;

use device::Note;
use protocol::{EpochMillis, Failure};
use rcgen::{
    CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use simulator::time_server::{Behaviour, TimeServer};
use simulator::tls::{Credentials, Version};
use support::openssl::Openssl;
use support::server::Server;
use support::{
    Authority, Leaf, ca_params, configuration, honest_time, issue, loopback, named, port, provisioned,
    run_until, server_params, verdict,
};

const DAY_MS: i64 = 86_400_000;

/// How the first attempt of a device with `credentials` at `host` ends, when its time server is `offset_ms` ahead.
async fn attempt(credentials: Credentials, host: &str, tcp: u16, offset_ms: i64) -> Result<(), Failure> {
    attempt_with(Version::default(), credentials, host, tcp, offset_ms).await
}

/// The same with this version of TLS.
async fn attempt_with(
    version: Version,
    credentials: Credentials,
    host: &str,
    tcp: u16,
    offset_ms: i64,
) -> Result<(), Failure> {
    let behaviour = Behaviour { offset_ms, ..Behaviour::default() };
    let time = TimeServer::start(loopback(), behaviour).await.unwrap();
    let configuration = configuration("dev-1", host, tcp, &[time.address()]);
    let mut machine = provisioned(&credentials, &configuration);
    let (mut port, reports) = port();
    port.tls = version;
    // Old firmware, so that the past is a time that the device may believe.
    port.info.build = EpochMillis::from_seconds(1_600_000_000);
    run_until(port, reports, &mut machine, verdict).await.0
}

/// The same for a server with this certificate, at the host's time.
async fn shown(authority: &Authority, leaf: &Leaf) -> Result<(), Failure> {
    let server = Server::start(leaf, None).await;
    attempt(authority.credentials("dev-1"), "localhost", server.address.port(), 0).await
}

#[tokio::test]
async fn a_certificate_of_the_trusted_authority_for_the_right_name_is_believed() {
    let authority = Authority::new("ours");
    assert_eq!(shown(&authority, &authority.server(&["localhost"])).await, Ok(()));
    assert_eq!(shown(&authority, &authority.server(&["other.example", "localhost"])).await, Ok(()));
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    assert_eq!(shown(&ours, &theirs.server(&["localhost"])).await, Err(Failure::TlsUnknownIssuer));
}

#[tokio::test]
async fn an_authority_that_only_has_the_name_of_ours_is_refused() {
    let (ours, namesake) = (Authority::new("ours"), Authority::new("ours"));
    assert_eq!(shown(&ours, &namesake.server(&["localhost"])).await, Err(Failure::TlsSignature));
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let authority = Authority::new("ours");
    assert_eq!(shown(&authority, &authority.server(&["other.example"])).await, Err(Failure::TlsName));
    assert_eq!(shown(&authority, &authority.server(&["*.localhost"])).await, Err(Failure::TlsName));
}

#[tokio::test]
async fn a_host_name_in_the_common_name_alone_does_not_count() {
    let authority = Authority::new("ours");
    let mut params = server_params(&[]);
    params.distinguished_name.push(DnType::CommonName, "localhost");
    assert_eq!(shown(&authority, &authority.issue(&params)).await, Err(Failure::TlsName));
}

#[tokio::test]
async fn a_dns_name_does_not_vouch_for_an_address() {
    let authority = Authority::new("ours");
    let server = Server::start(&authority.server(&["localhost"]), None).await;
    let verdict = attempt(authority.credentials("dev-1"), "127.0.0.1", server.address.port(), 0).await;
    assert_eq!(verdict, Err(Failure::TlsName));
}

#[tokio::test]
async fn a_self_signed_certificate_is_refused() {
    let authority = Authority::new("ours");
    let key = KeyPair::generate().unwrap();
    let certificate = server_params(&["localhost"]).self_signed(&key).unwrap();
    let leaf = Leaf {
        chain: vec![certificate.der().clone()],
        chain_pem: certificate.pem(),
        key_pem: key.serialize_pem(),
    };
    assert_eq!(shown(&authority, &leaf).await, Err(Failure::TlsSelfSigned));
}

#[tokio::test]
async fn an_authoritys_own_certificate_is_refused_as_a_servers() {
    let authority = Authority::new("ours");
    let mut params = server_params(&["localhost"]);
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    assert_eq!(shown(&authority, &authority.issue(&params)).await, Err(Failure::TlsSelfSigned));
}

/// A certificate that is valid from and to the given number of years from now (the year of the host's clock).
fn years(authority: &Authority, from: i32, to: i32) -> Leaf {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let this_year = 1970 + (since.as_secs() / 31_556_952) as i32;
    let mut params = server_params(&["localhost"]);
    (params.not_before, params.not_after) =
        (date_time_ymd(this_year + from, 1, 1), date_time_ymd(this_year + to, 1, 1));
    authority.issue(&params)
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let authority = Authority::new("ours");
    assert_eq!(shown(&authority, &years(&authority, -3, -1)).await, Err(Failure::TlsExpired));
}

#[tokio::test]
async fn a_certificate_that_is_not_yet_valid_is_refused() {
    let authority = Authority::new("ours");
    assert_eq!(shown(&authority, &years(&authority, 2, 3)).await, Err(Failure::TlsNotYetValid));
}

#[tokio::test]
async fn dates_are_judged_by_the_devices_clock_and_not_by_the_hosts() {
    let authority = Authority::new("ours");
    let at = async |leaf: &Leaf, years: i64| {
        let server = Server::start(leaf, None).await;
        attempt(authority.credentials("dev-1"), "localhost", server.address.port(), years * 365 * DAY_MS)
            .await
    };
    let valid_now = years(&authority, -1, 2);
    assert_eq!(at(&valid_now, 0).await, Ok(()));
    assert_eq!(at(&valid_now, 4).await, Err(Failure::TlsExpired));
    assert_eq!(at(&valid_now, -3).await, Err(Failure::TlsNotYetValid));
    let expired_now = years(&authority, -4, 0);
    assert_eq!(at(&expired_now, 0).await, Err(Failure::TlsExpired));
    assert_eq!(at(&expired_now, -2).await, Ok(()));
    let valid_later = years(&authority, 3, 6);
    assert_eq!(at(&valid_later, 0).await, Err(Failure::TlsNotYetValid));
    assert_eq!(at(&valid_later, 4).await, Ok(()));
}

/// A server certificate below an intermediate one that `authority` has issued with these properties.
fn below(authority: &Authority, intermediate: rcgen::CertificateParams) -> Leaf {
    let key = KeyPair::generate().unwrap();
    let issuer = CertifiedIssuer::signed_by(intermediate, key, &authority.issuer).unwrap();
    let mut leaf = issue(&server_params(&["localhost"]), &issuer);
    leaf.chain.push(issuer.der().clone());
    leaf
}

#[tokio::test]
async fn an_intermediate_authority_is_followed_and_one_that_is_none_is_refused() {
    let authority = Authority::new("ours");
    assert_eq!(shown(&authority, &below(&authority, ca_params("intermediate"))).await, Ok(()));
    // What a stolen device could do: sign for the service with its own certificate.
    let mut no_ca = named("device-2");
    no_ca.is_ca = IsCa::ExplicitNoCa;
    no_ca.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    assert_eq!(shown(&authority, &below(&authority, no_ca)).await, Err(Failure::TlsIssuerNotCa));
    let says_nothing = named("device-3");
    assert_eq!(shown(&authority, &below(&authority, says_nothing)).await, Err(Failure::TlsIssuerNotCa));
}

#[tokio::test]
async fn a_chain_whose_middle_is_missing_is_refused() {
    let authority = Authority::new("ours");
    let mut leaf = below(&authority, ca_params("intermediate"));
    leaf.chain.truncate(1);
    assert_eq!(shown(&authority, &leaf).await, Err(Failure::TlsUnknownIssuer));
}

#[tokio::test]
async fn a_client_certificate_is_refused_as_a_servers() {
    let authority = Authority::new("ours");
    let mut params = server_params(&["localhost"]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    assert_eq!(shown(&authority, &authority.issue(&params)).await, Err(Failure::TlsUsage));
    params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    assert_eq!(shown(&authority, &authority.issue(&params)).await, Ok(()));
}

#[tokio::test]
async fn a_certificate_with_an_altered_signature_is_refused() {
    let authority = Authority::new("ours");
    let mut leaf = authority.server(&["localhost"]);
    let mut der = leaf.chain[0].to_vec();
    // The last byte belongs to the signature's second number.
    *der.last_mut().unwrap() ^= 1;
    leaf.chain[0] = der.into();
    assert_eq!(shown(&authority, &leaf).await, Err(Failure::TlsSignature));
}

#[tokio::test]
async fn a_server_that_trusts_another_client_authority_lets_the_device_know() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let leaf = ours.server(&["localhost"]);
    let server = Server::start(&leaf, Some(ours.root())).await;
    let port = server.address.port();
    assert_eq!(attempt(ours.credentials("dev-1"), "localhost", port, 0).await, Ok(()));
    let server = Server::start(&leaf, Some(theirs.root())).await;
    let port = server.address.port();
    let verdict = attempt(ours.credentials("dev-1"), "localhost", port, 0).await;
    assert_eq!(verdict, Err(Failure::TlsClientRejected));
}

#[tokio::test]
async fn openssl_rejects_a_foreign_device_and_the_device_says_so() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    for (version, option, clients, expected) in [
        (Version::Tls13, "-tls1_3", &ours, Ok(())),
        (Version::Tls13, "-tls1_3", &theirs, Err(Failure::TlsClientRejected)),
        (Version::Tls12, "-tls1_2", &ours, Ok(())),
        (Version::Tls12, "-tls1_2", &theirs, Err(Failure::TlsClientRejected)),
    ] {
        let options = [option, "-Verify", "1", "-verify_return_error"];
        let server = Openssl::start(&ours.server(&["localhost"]), &options, Some(&clients.issuer.pem()));
        let verdict = attempt_with(version, ours.credentials("dev-1"), "localhost", server.port, 0).await;
        assert_eq!(verdict, expected, "{option}");
    }
}

/// Shows `leaf` with these options of `openssl s_server` to a device with this version; `client` are those with which `s_client`
/// gets in, which proves that the server works.
async fn openssl(
    version: Version,
    authority: &Authority,
    leaf: &Leaf,
    options: &[&str],
    client: &[&str],
) -> Result<(), Failure> {
    let server = Openssl::start(leaf, options, None);
    server.lets_in(client);
    drop(server);
    let server = Openssl::start(leaf, options, None);
    attempt_with(version, authority.credentials("dev-1"), "localhost", server.port, 0).await
}

#[tokio::test]
async fn one_version_of_tls_is_spoken_and_a_service_with_the_other_alone_is_refused() {
    let authority = Authority::new("ours");
    let leaf = authority.server(&["localhost"]);
    let refused = Err(Failure::TlsVersionOrCipher);
    for (options, of_tls_1_3, of_tls_1_2) in [
        (&["-tls1_3"][..], Ok(()), refused),
        (&["-tls1_2"], refused, Ok(())),
        (&[], Ok(()), Ok(())),
        (&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], refused, Ok(())),
    ] {
        for (version, verdict) in [(Version::Tls13, of_tls_1_3), (Version::Tls12, of_tls_1_2)] {
            assert_eq!(openssl(version, &authority, &leaf, options, &[]).await, verdict, "{options:?}");
        }
    }
}

#[tokio::test]
async fn the_suite_and_the_group_of_the_firmware_are_spoken_and_no_others() {
    let authority = Authority::new("ours");
    let leaf = authority.server(&["localhost"]);
    let refused = Err(Failure::TlsVersionOrCipher);
    for (version, options, verdict) in [
        (Version::Tls13, &["-ciphersuites", "TLS_AES_128_GCM_SHA256", "-groups", "P-256"][..], Ok(())),
        (Version::Tls13, &["-groups", "X25519:P-256"], Ok(())),
        (Version::Tls13, &["-groups", "X25519"], refused),
        (Version::Tls13, &["-groups", "P-384"], refused),
        (Version::Tls13, &["-ciphersuites", "TLS_AES_256_GCM_SHA384"], refused),
        (Version::Tls13, &["-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"], refused),
        (Version::Tls12, &["-tls1_2", "-groups", "P-256"], Ok(())),
        (Version::Tls12, &["-tls1_2", "-groups", "X25519"], refused),
        (Version::Tls12, &["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"], refused),
        (Version::Tls12, &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"], refused),
    ] {
        let options: Vec<&str> = if version == Version::Tls13 { vec!["-tls1_3"] } else { vec![] }
            .into_iter()
            .chain(options.iter().copied())
            .collect();
        assert_eq!(openssl(version, &authority, &leaf, &options, &[]).await, verdict, "{options:?}");
    }
}

#[tokio::test]
async fn a_tls_1_1_peer_is_refused() {
    let authority = Authority::new("ours");
    let leaf = authority.server(&["localhost"]);
    let legacy = ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"];
    for version in [Version::Tls13, Version::Tls12] {
        let verdict = openssl(version, &authority, &leaf, &legacy, &legacy).await;
        assert_eq!(verdict, Err(Failure::TlsVersionOrCipher));
    }
}

#[tokio::test]
async fn a_cbc_peer_is_refused() {
    let authority = Authority::new("ours");
    let leaf = authority.server(&["localhost"]);
    let cbc = ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA"];
    let verdict = openssl(Version::Tls12, &authority, &leaf, &cbc, &[]).await;
    assert_eq!(verdict, Err(Failure::TlsVersionOrCipher));
}

#[tokio::test]
async fn a_peer_with_an_rsa_key_is_refused_whether_its_keys_are_agreed_on_or_not() {
    let authority = Authority::new("ours");
    let key = support::openssl::rsa_key();
    let mut params = server_params(&["localhost"]);
    params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    let leaf = Leaf {
        chain: vec![certificate.der().clone()],
        chain_pem: certificate.pem(),
        key_pem: key.serialize_pem(),
    };
    let static_rsa = ["-tls1_2", "-cipher", "AES128-GCM-SHA256:AES256-GCM-SHA384"];
    let ecdhe = ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"];
    for (version, options) in
        [(Version::Tls12, &static_rsa[..]), (Version::Tls12, &ecdhe), (Version::Tls13, &["-tls1_3"])]
    {
        let verdict = openssl(version, &authority, &leaf, options, &[]).await;
        assert_eq!(verdict, Err(Failure::TlsVersionOrCipher), "{options:?}");
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_and_a_name_without_address_have_their_own_names() {
    let authority = Authority::new("ours");
    let closed = std::net::TcpListener::bind(loopback()).unwrap().local_addr().unwrap().port();
    let credentials = || authority.credentials("dev-1");
    assert_eq!(attempt(credentials(), "localhost", closed, 0).await, Err(Failure::Refused));
    assert_eq!(attempt(credentials(), "no-such-host.invalid", closed, 0).await, Err(Failure::Dns));
}

#[tokio::test]
async fn a_server_without_tls_and_one_that_hangs_up_are_refused() {
    let authority = Authority::new("ours");
    for (greeting, expected) in
        [(&b"HTTP/1.0 400\r\n\r\n"[..], Failure::TlsOther), (&b""[..], Failure::PeerClosed)]
    {
        let listener = tokio::net::TcpListener::bind(loopback()).await.unwrap();
        let tcp = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                // The whole ClientHello is read first: closing with unread data would reset the connection instead.
                let _len = stream.read(&mut [0; 4096]).await;
                let _sent = stream.write_all(greeting).await;
            }
        });
        assert_eq!(attempt(authority.credentials("dev-1"), "localhost", tcp, 0).await, Err(expected));
        serving.abort();
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_after_the_timeout() {
    let authority = Authority::new("ours");
    let silent = tokio::net::TcpListener::bind(loopback()).await.unwrap();
    let time = honest_time().await;
    let configuration =
        configuration("dev-1", "localhost", silent.local_addr().unwrap().port(), &[time.address()]);
    let mut machine = provisioned(&authority.credentials("dev-1"), &configuration);
    let (mut port, reports) = port();
    port.info.policy.connect_timeout_ms = 300;
    let is_verdict = |note: &Note| verdict(note);
    assert_eq!(run_until(port, reports, &mut machine, is_verdict).await.0, Err(Failure::ConnectTimeout));
}
