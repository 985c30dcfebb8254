//! Keys and signatures of other kinds than a device takes, on the path and beside it.

use super::super::forge::{Node, authority, ed25519_key, key_of, rsa_key, server};
use super::{List, Verdict};
use protocol::Failure;
use protocol::x509::path::PathFault;
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384};

type Make = fn() -> KeyPair;

impl List<'_> {
    pub(super) fn algorithms(&mut self) {
        let kinds: [(Make, [&'static str; 3]); 3] = [
            (rsa_key, ["server-key-rsa", "issuer-key-rsa", "root-key-rsa"]),
            (|| key_of(&PKCS_ECDSA_P384_SHA384), ["server-key-p384", "issuer-key-p384", "root-key-p384"]),
            (ed25519_key, ["server-key-ed25519", "issuer-key-ed25519", "root-key-ed25519"]),
        ];
        let root = Node::root(authority("root"));
        for (key, [of_server, of_issuer, of_root]) in kinds {
            // A device asks for nothing but ecdsa_secp256r1_sha256: whoever has no such key breaks off.
            let leaf = Node::with_key(server(self.host), key(), Some(&root));
            self.refused(of_server, Failure::TlsVersionOrCipher, &[&root], &[&leaf]);
            let issuer = Node::with_key(authority("between"), key(), Some(&root));
            let leaf = Node::below(&issuer, server(self.host));
            self.refused(of_issuer, Failure::TlsAlgorithm, &[&root], &[&leaf, &issuer]);
            let other = Node::with_key(authority("other"), key(), None);
            let leaf = Node::below(&other, server(self.host));
            self.add(of_root, Verdict::RootsRefused(PathFault::Algorithm), &[&other], &[&leaf]);
        }
        self.other_hash(&root);
        self.beside_the_path();
    }

    /// The key fits, and what it signs is another digest.
    fn other_hash(&mut self, root: &Node) {
        let leaf = Node::below(root, server(self.host)).signed_with_sha384(&root.key);
        self.refused("server-signed-with-sha384", Failure::TlsAlgorithm, &[root], &[&leaf]);
        let issuer = Node::below(root, authority("between")).signed_with_sha384(&root.key);
        let leaf = Node::below(&issuer, server(self.host));
        self.refused("issuer-signed-with-sha384", Failure::TlsAlgorithm, &[root], &[&leaf, &issuer]);
        let other = Node::root(authority("other"));
        let key = other.again();
        let other = other.signed_with_sha384(&key);
        let leaf = Node::below(&other, server(self.host));
        let refused = Verdict::RootsRefused(PathFault::Algorithm);
        self.add("root-signed-with-sha384", refused, &[&other], &[&leaf]);
    }

    /// What others than devices need: what another algorithm signed is passed over, a key that not all libraries can read is not.
    fn beside_the_path(&mut self) {
        let old = Node::with_key(authority("old"), rsa_key(), None);
        let new = Node::root(authority("new"));
        let cross = Node::with_key(authority("new"), new.again(), Some(&old));
        let leaf = Node::below(&new, server(self.host));
        let good = Verdict::Connected;
        self.add("good-cross-signed-by-an-rsa-root", good, &[&new], &[&leaf, &cross]);
        self.add("good-rsa-root-shown-too", good, &[&new], &[&leaf, &old]);
        let beside = Node::with_key(authority("beside"), key_of(&PKCS_ECDSA_P384_SHA384), Some(&new));
        self.refused("p384-key-shown-too", Failure::TlsAlgorithm, &[&new], &[&leaf, &beside]);
    }
}
