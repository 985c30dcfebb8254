//! The peers that rustls cannot be: `openssl s_server` with old versions and ciphers. Needs the Debian package
//! `openssl`.

use super::Leaf;
use super::server::CONNACK;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

fn command() -> Command {
    Command::new("openssl")
}

const MISSING: &str = "openssl does not run; this test needs it: apt-get install openssl";

/// A running `openssl s_server`, which sends CONNACK to whoever gets in. Dropping it stops it.
pub struct Openssl {
    pub port: u16,
    child: Child,
    _files: TempDir,
}

impl Drop for Openssl {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Openssl {
    /// Shows `leaf`, with further `options`; checks clients against the PEM root `clients` where that is given.
    pub fn start(leaf: &Leaf, options: &[&str], clients: Option<&str>) -> Self {
        let files = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = files.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let mut server = command();
        server.args(["s_server", "-accept", "127.0.0.1:0", "-cert"]).arg(file("server.crt", &leaf.chain_pem));
        server.arg("-key").arg(file("server.key", &leaf.key_pem)).args(options);
        if let Some(clients) = clients {
            server.arg("-CAfile").arg(file("clients.crt", clients));
        }
        server.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = server.spawn().expect(MISSING);
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let port = loop {
            let mut line = String::new();
            if lines.read_line(&mut line).unwrap() == 0 {
                let mut why = String::new();
                child.stderr.take().unwrap().read_to_string(&mut why).unwrap();
                panic!("openssl s_server does not start: {why}");
            }
            if let Some(address) = line.strip_prefix("ACCEPT ") {
                break address.trim().rsplit_once(':').unwrap().1.parse().unwrap();
            }
        };
        // The pipes must not fill up; who reads them to the end also ends with the process.
        let mut errors = child.stderr.take().unwrap();
        std::thread::spawn(move || errors.read_to_end(&mut Vec::new()));
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        // Waits in the pipe until a client is in. Nothing in it is one of s_server's letters for commands.
        child.stdin.as_mut().unwrap().write_all(&CONNACK).unwrap();
        Self { port, child, _files: files }
    }

    /// Asserts that `openssl s_client` with these options gets in.
    pub fn lets_in(&self, options: &[&str]) {
        let mut client = command();
        client.args(["s_client", "-brief", "-connect", &format!("127.0.0.1:{}", self.port)]).args(options);
        let output = client.stdin(Stdio::null()).output().expect(MISSING);
        assert!(output.status.success(), "openssl s_client: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// An RSA key, which ring cannot make.
pub fn rsa_key() -> rcgen::KeyPair {
    let mut generate = command();
    generate.args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    let output = generate.output().expect(MISSING);
    assert!(output.status.success(), "openssl genpkey: {}", String::from_utf8_lossy(&output.stderr));
    rcgen::KeyPair::from_pem(&String::from_utf8(output.stdout).unwrap()).unwrap()
}
