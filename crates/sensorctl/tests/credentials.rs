//! The end of the operator's and of the broker's certificate: told long before, in every program, with the command that renews;
//! and a sentence afterwards. Against Mosquitto.

mod service;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use service::{Program, Service};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Puts a certificate of another life, for the key that is there, into the place of `ca/<name>.crt`.
fn age(service: &Service, name: &str, days: [i64; 2]) {
    let read = |file: String| std::fs::read_to_string(service.path(&file)).unwrap();
    let root = CertificateDer::from_pem_file(service.path("ca/ca.crt")).unwrap();
    let (_, root) = X509Certificate::from_der(&root).unwrap();
    let root_name = root.subject().iter_common_name().next().unwrap().as_str().unwrap();
    let mut authority = CertificateParams::default();
    authority.distinguished_name = DistinguishedName::default();
    authority.distinguished_name.push(DnType::CommonName, root_name);
    let issuer = Issuer::new(authority, KeyPair::from_pem(&read("ca/ca.key".into())).unwrap());
    let key = KeyPair::from_pem(&read(format!("ca/{name}.key"))).unwrap();
    let mut leaf = CertificateParams::default();
    leaf.distinguished_name = DistinguishedName::default();
    leaf.distinguished_name.push(DnType::CommonName, name);
    let now = OffsetDateTime::now_utc();
    [leaf.not_before, leaf.not_after] = days.map(|days| now + Duration::days(days) + Duration::minutes(9));
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.use_authority_key_identifier_extension = true;
    leaf.extended_key_usages = if name == "broker" {
        leaf.subject_alt_names = vec![SanType::DnsName("localhost".try_into().unwrap())];
        vec![ExtendedKeyUsagePurpose::ServerAuth]
    } else {
        vec![ExtendedKeyUsagePurpose::ClientAuth]
    };
    let certificate = leaf.signed_by(&key, &issuer).unwrap();
    std::fs::write(service.path(&format!("ca/{name}.crt")), certificate.pem()).unwrap();
}

/// Every command that connects, as far as it ends by itself.
fn programs(service: &Service) -> Vec<Vec<String>> {
    let (port, broker) = (service.port.to_string(), format!("localhost:{}", service.port));
    let at = ["--ca", "ca", "--host", "localhost", "--port", &port];
    let registry = ["--registry", "registry.jsonl"];
    let powers = ["--authority", "powers"];
    [
        [&["config", "get"][..], &at, &powers, &registry, &["--all"]].concat(),
        [&["firmware", "status"][..], &at].concat(),
        [&["command", "withdraw", "--id", "dev-1"][..], &at].concat(),
        [
            &["document", "roots", "--root", "ca/ca.crt", "--id", "dev-1", "--ca", "ca"][..],
            &powers,
            &["--publish", &broker],
        ]
        .concat(),
        [&["revoke", "--id", "dev-1", "--ca", "ca"][..], &registry, &["--clear", &broker]].concat(),
    ]
    .into_iter()
    .map(|arguments| arguments.into_iter().map(str::to_owned).collect())
    .collect()
}

/// What each of them says on the standard error, and its exit code.
fn said(service: &Service) -> Vec<(String, Option<i32>)> {
    let run = |arguments: Vec<String>| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = service.output(&arguments);
        (String::from_utf8(output.stderr).unwrap(), output.status.code())
    };
    programs(service).into_iter().map(run).collect()
}

#[test]
fn every_program_warns_before_the_end_with_date_and_command_and_after_it_says_what_to_do() {
    let mut service = Service::new();
    service.device("dev-1");
    for (text, _) in said(&service) {
        assert!(!text.contains("certificate"), "nothing is to be said yet: {text}");
    }
    let date = |days| (OffsetDateTime::now_utc() + Duration::days(days) + Duration::minutes(9)).date();

    age(&service, "operator", [-340, 25]);
    age(&service, "broker", [-340, 20]);
    service.start_broker();
    let operator = format!(
        "warning: the operator's certificate ca/operator.crt ends on {}, in 25 days: renew it with `sensorctl ca operator --renew \
         --ca ca --out ca`\n",
        date(25)
    );
    let broker = format!(
        "warning: the broker's certificate ends on {}, in 20 days: renew it with `sensorctl ca broker --renew --ca ca` and let the \
         broker read its certificate again\n",
        date(20)
    );
    for (text, code) in said(&service) {
        assert_eq!(
            (text.matches(&operator).count(), text.matches(&broker).count()),
            (1, 1),
            "{code:?}: {text}"
        );
    }

    // The broker's has ended: the sentence takes the place of "invalid peer certificate".
    age(&service, "broker", [-340, -1]);
    service.start_broker();
    let ended =
        format!("the broker's certificate ended on {}: renew it with `sensorctl ca broker --renew", date(-1));
    for (text, code) in said(&service) {
        assert!(text.contains(&ended) && code == Some(1), "{code:?}: {text}");
    }
    service.sensorctl(&["ca", "broker", "--renew", "--ca", "ca"]);
    service.start_broker();
    for (text, _) in said(&service) {
        assert!(!text.contains("the broker's certificate"), "{text}");
    }

    // The operator's has ended: nothing is dialled.
    age(&service, "operator", [-340, -1]);
    let ended = format!(
        "error: the operator's certificate ca/operator.crt ended on {}: renew it with `sensorctl ca",
        date(-1)
    );
    for (text, code) in said(&service) {
        assert!(text.starts_with(&ended) && code == Some(1), "{code:?}: {text}");
    }
    age(&service, "operator", [2, 300]);
    for (text, code) in said(&service) {
        assert!(
            text.contains("the clock here or that of its authority is wrong") && code == Some(1),
            "{text}"
        );
    }
    let said_by_renewal = service.sensorctl(&["ca", "operator", "--renew", "--ca", "ca"]);
    assert!(said_by_renewal.contains("for operator in ca, with the same key, until 20"), "{said_by_renewal}");
    for (text, _) in said(&service) {
        assert!(!text.contains("certificate"), "{text}");
    }

    // A key that others may read is nobody's own any more.
    let key = service.path("ca/operator.key");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    for (text, code) in said(&service) {
        assert!(text.contains("(mode 640); it was not read: `chmod 600 ca/operator.key`"), "{text}");
        assert_eq!(code, Some(1));
    }
}

#[test]
fn a_program_that_runs_takes_the_renewed_certificate_at_its_next_connection() {
    let mut service = Service::new();
    age(&service, "operator", [-340, 25]);
    let port = service.port.to_string();
    let renew =
        ["renew", "--ca", "ca", "--authority", "powers", "--registry", "registry.jsonl", "--port", &port];
    let program = Program::start(&mut service.command(&renew));
    program.says("ends on");
    program.says("connected, listening");
    service.sensorctl(&["ca", "operator", "--renew", "--ca", "ca"]);
    service.start_broker();
    program.says("was replaced: it is used from now on");
    program.says("connected, listening");
    program.end();
}
