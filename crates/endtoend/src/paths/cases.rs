//! The list.

mod algorithms;

use super::forge::{
    BASIC_CONSTRAINTS, KEY_USAGE, NAME_CONSTRAINTS, Node, UNKNOWN, authority, extension, key, server,
};
use super::{Case, Verdict};
use protocol::Failure;
use protocol::x509::path::{INTERMEDIATES_MAX, PathFault};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    KeyUsagePurpose, NameConstraints, date_time_ymd,
};

/// `NameConstraints` that permit names below example.com and nothing else.
const OTHER_NAMES: &[u8] = b"\x30\x11\xa0\x0f\x30\x0d\x82\x0bexample.com";

const DAY_S: u32 = 86_400;

/// Version 3 and version 2 as they are written.
const VERSION_3: &[u8] = &[0xa0, 3, 2, 1, 2];
const VERSION_2: &[u8] = &[0xa0, 3, 2, 1, 1];

/// Every case, for services with the name `host`.
pub fn all(host: &str) -> Vec<Case> {
    let mut list = List { host, cases: Vec::new() };
    list.good();
    list.strangers();
    list.leaves();
    list.issuers();
    list.algorithms();
    list.forms();
    list.lengths();
    list.roots();
    list.cases
}

struct List<'h> {
    host: &'h str,
    cases: Vec<Case>,
}

type Change<'c> = &'c dyn Fn(&mut CertificateParams);

/// It ends in two days.
const ENDS_SOON: Change<'static> =
    &|params| params.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(2);

const AS_IT_IS: Change<'static> = &|_| {};

fn changed(mut params: CertificateParams, change: Change<'_>) -> CertificateParams {
    change(&mut params);
    params
}

impl List<'_> {
    fn add(&mut self, name: &'static str, verdict: Verdict, roots: &[&Node], shown: &[&Node]) {
        let ders = |nodes: &[&Node]| nodes.iter().map(|node| node.der.clone()).collect();
        let key_pem = shown.first().expect("a server").key.serialize_pem();
        self.cases.push(Case { name, roots: ders(roots), chain: ders(shown), key_pem, ahead_s: 0, verdict });
    }

    /// The last case is met by a device whose clock says that what ends soon has ended.
    fn later(&mut self) {
        self.cases.last_mut().expect("a case").ahead_s = 4 * DAY_S;
    }

    fn refused(&mut self, name: &'static str, why: Failure, roots: &[&Node], shown: &[&Node]) {
        self.add(name, Verdict::Refused(why), roots, shown);
    }

    /// A root, one authority below it and a server below that, each of them changed.
    fn three(&self, root: Change<'_>, between: Change<'_>, leaf: Change<'_>) -> [Node; 3] {
        let root = Node::root(changed(authority("root"), root));
        let between = Node::below(&root, changed(authority("between"), between));
        let leaf = Node::below(&between, changed(server(self.host), leaf));
        [root, between, leaf]
    }

    /// Adds the three: shown without the root.
    fn path(&mut self, name: &'static str, verdict: Verdict, [root, between, leaf]: &[Node; 3]) {
        self.add(name, verdict, &[root], &[leaf, between]);
    }

    fn good(&mut self) {
        let good = Verdict::Connected;
        let root = Node::root(authority("root"));
        let leaf = Node::below(&root, server(self.host));
        self.add("good-without-intermediate", good, &[&root], &[&leaf]);
        self.add("good-root-shown-too", good, &[&root], &[&leaf, &root]);
        let others = [Node::root(authority("other")), Node::root(authority("third"))];
        self.add("good-last-of-three-roots", good, &[&others[0], &others[1], &root], &[&leaf]);
        self.add("good-stranger-shown-too", good, &[&root], &[&leaf, &others[0]]);
        self.path("good-intermediate", good, &self.three(AS_IT_IS, AS_IT_IS, AS_IT_IS));
        let no_key_usage: Change<'_> = &|params| params.key_usages.clear();
        let says_nothing: Change<'_> = &|params| {
            params.key_usages.clear();
            params.extended_key_usages.clear();
            params.is_ca = IsCa::NoCa;
        };
        self.path("good-no-key-usage-anywhere", good, &self.three(no_key_usage, no_key_usage, says_nothing));
        let one: Change<'_> = &|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        let none: Change<'_> = &|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        self.path("good-path-lengths-just-enough", good, &self.three(one, none, AS_IT_IS));
        let odd: Change<'_> = &|params| params.custom_extensions.push(extension(&UNKNOWN, false, &[5, 0]));
        self.path("good-unknown-extensions-not-critical", good, &self.three(odd, odd, odd));
        self.cross_signed();
        // A root that was renewed with its key: the ended one is passed by.
        let renewed = Node::root(authority("root"));
        let ended = Node::with_key(changed(authority("root"), ENDS_SOON), renewed.again(), None);
        let leaf = Node::below(&renewed, server(self.host));
        self.add("good-renewed-root-beside-the-ended-one", good, &[&ended, &renewed], &[&leaf]);
        self.later();
    }

    /// A new authority that the old one vouches for: devices with the old root, the new one, or both.
    fn cross_signed(&mut self) {
        let old = Node::root(authority("old"));
        let new = Node::root(authority("new"));
        let cross = Node::with_key(authority("new"), new.again(), Some(&old));
        let between = Node::below(&new, authority("between"));
        let leaf = Node::below(&between, server(self.host));
        let shown = [&leaf, &between, &cross];
        self.add("good-cross-signed-old-root", Verdict::Connected, &[&old], &shown);
        self.add("good-cross-signed-new-root", Verdict::Connected, &[&new], &shown);
        self.add("good-cross-signed-both-roots", Verdict::Connected, &[&old, &new], &shown);
        // The new root is held and the old one has ended: nobody has to go there.
        let ended = Node::with_key(changed(authority("old"), ENDS_SOON), old.again(), None);
        self.add("good-cross-signed-by-an-ended-root", Verdict::Connected, &[&ended, &new], &shown);
        self.later();
        self.refused("cross-signed-by-an-ended-root-alone", Failure::TlsRootEnded, &[&ended], &shown);
        self.later();
    }

    fn strangers(&mut self) {
        let root = Node::root(authority("root"));
        let stranger = Node::root(authority("stranger"));
        let leaf = Node::below(&stranger, server(self.host));
        self.refused("unknown-issuer", Failure::TlsUnknownIssuer, &[&root], &[&leaf]);
        // The dates of a stranger's certificate say nothing.
        let old = changed(server(self.host), &|params| params.not_after = date_time_ymd(2021, 9, 30));
        let leaf = Node::below(&stranger, old);
        self.refused("unknown-issuer-expired", Failure::TlsUnknownIssuer, &[&root], &[&leaf]);
        let namesake = Node::root(authority("root"));
        let leaf = Node::below(&namesake, server(self.host));
        self.refused("namesake-of-the-root", Failure::TlsSignature, &[&root], &[&leaf]);
        let [root, _, leaf] = self.three(AS_IT_IS, AS_IT_IS, AS_IT_IS);
        self.refused("intermediate-not-shown", Failure::TlsUnknownIssuer, &[&root], &[&leaf]);
        let alone = Node::root(server(self.host));
        self.refused("self-signed", Failure::TlsSelfSigned, &[&root], &[&alone]);
        let mut altered = Node::below(&root, server(self.host));
        *altered.der.last_mut().expect("a signature") ^= 1;
        self.refused("signature-altered", Failure::TlsSignature, &[&root], &[&altered]);
        // The same words in another string type are another name here, and not in every library.
        let mut printable = authority("root");
        printable.distinguished_name.remove(DnType::CommonName);
        let text = rcgen::string::PrintableString::try_from("root").expect("printable");
        printable.distinguished_name.push(DnType::CommonName, rcgen::DnValue::PrintableString(text));
        let twin = Node::with_key(printable, root.again(), None);
        let leaf = Node::below(&twin, server(self.host));
        self.refused("issuer-name-of-another-type", Failure::TlsUnknownIssuer, &[&root], &[&leaf]);
    }

    fn leaves(&mut self) {
        let root = Node::root(authority("root"));
        let cases: [(&'static str, Failure, Change<'_>); 7] = [
            ("server-for-another-host", Failure::TlsName, &|params| {
                params.subject_alt_names =
                    vec![rcgen::SanType::DnsName("other.example".try_into().expect("a name"))];
            }),
            ("server-expired", Failure::TlsExpired, &|params| params.not_after = date_time_ymd(2021, 9, 30)),
            ("server-not-yet-valid", Failure::TlsNotYetValid, &|params| {
                params.not_before = date_time_ymd(2048, 1, 1);
            }),
            ("server-is-an-authority", Failure::TlsSelfSigned, &|params| {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }),
            ("server-for-clients-only", Failure::TlsUsage, &|params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }),
            ("server-for-any-purpose-not-by-name", Failure::TlsUsage, &|params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
            }),
            ("server-without-digital-signature", Failure::TlsUsage, &|params| {
                params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
            }),
        ];
        for (name, why, change) in cases {
            let leaf = Node::below(&root, changed(server(self.host), change));
            self.refused(name, why, &[&root], &[&leaf]);
        }
    }

    fn issuers(&mut self) {
        let cases: [(&'static str, Failure, Change<'_>); 8] = [
            ("issuer-without-key-cert-sign", Failure::TlsIssuerUsage, &|params| {
                params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
            }),
            ("issuer-for-clients-only", Failure::TlsIssuerUsage, &|params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }),
            ("issuer-without-basic-constraints", Failure::TlsIssuerNotCa, &|params| {
                params.is_ca = IsCa::NoCa;
            }),
            ("issuer-that-is-no-authority", Failure::TlsIssuerNotCa, &|params| {
                params.is_ca = IsCa::ExplicitNoCa;
            }),
            ("issuer-with-name-constraints-critical", Failure::TlsNameConstraints, &|params| {
                let subtree = GeneralSubtree::DnsName("localhost".to_owned());
                params.name_constraints =
                    Some(NameConstraints { permitted_subtrees: vec![subtree], excluded_subtrees: vec![] });
            }),
            ("issuer-with-name-constraints-not-critical", Failure::TlsNameConstraints, &|params| {
                params.custom_extensions.push(extension(&NAME_CONSTRAINTS, false, OTHER_NAMES));
            }),
            ("issuer-expired", Failure::TlsExpired, &|params| params.not_after = date_time_ymd(2021, 9, 30)),
            ("issuer-not-yet-valid", Failure::TlsNotYetValid, &|params| {
                params.not_before = date_time_ymd(2048, 1, 1);
            }),
        ];
        for (name, why, change) in cases {
            let path = self.three(AS_IT_IS, change, AS_IT_IS);
            self.path(name, Verdict::Refused(why), &path);
        }
    }

    fn forms(&mut self) {
        let refused = Verdict::Refused;
        let constraints = |value: &'static [u8]| {
            move |params: &mut CertificateParams| {
                params.is_ca = IsCa::NoCa;
                params.custom_extensions.push(extension(&BASIC_CONSTRAINTS, true, value));
            }
        };
        for (name, value) in [
            ("issuer-boolean-not-canonical", &b"\x30\x03\x01\x01\x01"[..]),
            ("issuer-false-written-out", b"\x30\x03\x01\x01\x00"),
            ("issuer-path-length-negative", b"\x30\x06\x01\x01\xff\x02\x01\xff"),
        ] {
            let path = self.three(AS_IT_IS, &constraints(value), AS_IT_IS);
            self.path(name, refused(Failure::TlsMalformed), &path);
        }
        let twice: Change<'_> =
            &|params| params.custom_extensions.push(extension(&KEY_USAGE, true, &[3, 2, 7, 0x80]));
        self.path(
            "server-extension-twice",
            refused(Failure::TlsMalformed),
            &self.three(AS_IT_IS, AS_IT_IS, twice),
        );
        let critical: Change<'_> =
            &|params| params.custom_extensions.push(extension(&UNKNOWN, true, &[5, 0]));
        let unknown = refused(Failure::TlsCriticalExtension);
        self.path("server-critical-extension", unknown, &self.three(AS_IT_IS, AS_IT_IS, critical));
        self.path("issuer-critical-extension", unknown, &self.three(AS_IT_IS, critical, AS_IT_IS));
        let version = refused(Failure::TlsCertificateVersion);
        let [root, between, leaf] = self.three(AS_IT_IS, AS_IT_IS, AS_IT_IS);
        let leaf = leaf.forged(&between.key, VERSION_3, VERSION_2);
        self.path("server-version-2", version, &[root, between, leaf]);
        let [root, between, leaf] = self.three(AS_IT_IS, AS_IT_IS, AS_IT_IS);
        let between = between.forged(&root.key, VERSION_3, VERSION_2);
        self.path("issuer-version-2", version, &[root, between, leaf]);
    }

    fn lengths(&mut self) {
        const NAMES: [&str; INTERMEDIATES_MAX + 1] = ["i1", "i2", "i3", "i4", "i5", "i6", "i7"];
        let none: Change<'_> = &|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let length = Verdict::Refused(Failure::TlsPathLength);
        self.path("root-path-length-exceeded", length, &self.three(none, AS_IT_IS, AS_IT_IS));
        let root = Node::root(authority("root"));
        let first = Node::below(&root, changed(authority("first"), none));
        let second = Node::below(&first, authority("second"));
        let leaf = Node::below(&second, server(self.host));
        self.refused(
            "issuer-path-length-exceeded",
            Failure::TlsPathLength,
            &[&root],
            &[&leaf, &second, &first],
        );
        let root = Node::root(authority("root"));
        let mut chain: Vec<Node> = Vec::new();
        for name in NAMES {
            let below = Node::below(chain.last().unwrap_or(&root), authority(name));
            chain.push(below);
            let leaf = Node::below(chain.last().expect("an issuer"), server(self.host));
            let shown: Vec<&Node> = std::iter::once(&leaf).chain(chain.iter().rev()).collect();
            match chain.len() {
                INTERMEDIATES_MAX => {
                    self.add("good-six-intermediates", Verdict::Connected, &[&root], &shown);
                }
                len if len > INTERMEDIATES_MAX => {
                    self.refused("seven-intermediates", Failure::TlsChainTooLong, &[&root], &shown);
                }
                _ => {}
            }
        }
        let filled = |len: usize| {
            let root = Node::root(authority("root"));
            let mut params = server(self.host);
            params.custom_extensions.push(extension(&UNKNOWN, false, &vec![0; len]));
            [Node::below(&root, params), root]
        };
        let [leaf, root] = filled(3_500);
        self.add("good-chain-of-nearly-4096-bytes", Verdict::Connected, &[&root], &[&leaf]);
        let [leaf, root] = filled(4_000);
        self.refused("chain-of-more-than-4096-bytes", Failure::TlsChainTooLong, &[&root], &[&leaf]);
        let [leaf, root] = filled(9_000);
        self.refused("chain-of-9-kilobytes", Failure::TlsChainTooLong, &[&root], &[&leaf]);
    }

    /// Roots that no device takes, and those of which only the time tells.
    fn roots(&mut self) {
        let cases: [(&'static str, PathFault, Change<'_>); 6] = [
            ("root-without-key-cert-sign", PathFault::IssuerUsage, &|params| {
                params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            }),
            ("root-without-basic-constraints", PathFault::IssuerNotCa, &|params| params.is_ca = IsCa::NoCa),
            ("root-with-name-constraints-not-critical", PathFault::NameConstraints, &|params| {
                params.custom_extensions.push(extension(&NAME_CONSTRAINTS, false, OTHER_NAMES));
            }),
            ("root-with-name-constraints-critical", PathFault::NameConstraints, &|params| {
                params.custom_extensions.push(extension(&NAME_CONSTRAINTS, true, OTHER_NAMES));
            }),
            ("root-critical-extension", PathFault::CriticalExtension, &|params| {
                params.custom_extensions.push(extension(&UNKNOWN, true, &[5, 0]));
            }),
            ("root-for-clients-only", PathFault::IssuerUsage, &|params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }),
        ];
        for (name, why, change) in cases {
            let root = Node::root(changed(authority("root"), change));
            let leaf = Node::below(&root, server(self.host));
            self.add(name, Verdict::RootsRefused(why), &[&root], &[&leaf]);
        }
        let root_key = key();
        let again = rcgen::KeyPair::try_from(root_key.serialize_der()).expect("a key that rcgen has written");
        let version_2 =
            Node::with_key(authority("root"), root_key, None).forged(&again, VERSION_3, VERSION_2);
        let leaf = Node::below(&version_2, server(self.host));
        self.add("root-version-2", Verdict::RootsRefused(PathFault::Version), &[&version_2], &[&leaf]);
        for (name, why, change) in [
            ("root-ended", Failure::TlsRootEnded, ENDS_SOON),
            ("root-not-yet-valid", Failure::TlsRootNotYetValid, &|params: &mut CertificateParams| {
                params.not_before = date_time_ymd(2048, 1, 1);
            }),
        ] {
            let root = Node::root(changed(authority("root"), change));
            let leaf = Node::below(&root, server(self.host));
            self.refused(name, why, &[&root], &[&leaf]);
            self.later();
        }
        // Everybody can write the name of such a root into a certificate: its dates count with its signature only.
        let good = Node::root(authority("root"));
        for (name, change) in [
            ("namesake-of-an-ended-root", ENDS_SOON),
            ("namesake-of-a-waiting-root", &|params: &mut CertificateParams| {
                params.not_before = date_time_ymd(2048, 1, 1);
            }),
        ] {
            let root = Node::root(changed(authority("other"), change));
            let leaf = Node::below(&Node::root(authority("other")), server(self.host));
            self.refused(name, Failure::TlsSignature, &[&good, &root], &[&leaf]);
            self.later();
        }
        let ended =
            Node::root(changed(authority("root"), &|params| params.not_after = date_time_ymd(2021, 9, 30)));
        let leaf = Node::below(&ended, server(self.host));
        self.add("root-ended-long-ago", Verdict::RootsRefused(PathFault::RootEnded), &[&ended], &[&leaf]);
    }
}
