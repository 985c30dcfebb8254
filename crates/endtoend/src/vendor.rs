//! A vendor with one Linux device or many to update: the image key, images and releases, all made by `sensorctl` as a person
//! calls it, and Mosquitto to publish them at. Owns no decision of an update.

use crate::dut::{self, Dut};
use crate::mosquitto::Mosquitto;
use crate::pki::Pki;
use crate::site::{Program, Programs, Ran, Site};
use protocol::PublicKey;
use protocol::blocks::PayloadUri;
use simulator::folder::{Powers, public_key};
use simulator::time_server::{Behaviour, TimeServer};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Version that every device begins with.
pub const FIRST: &str = "1.0.0";

/// Bytes of an image's body where nothing else is wanted: 50 blocks.
pub const BODY_BYTES: usize = 100 * 1024;

/// The vendor's office.
pub struct Vendor {
    /// Its folder and the programs in it.
    pub site: Site,
    /// The authority of every certificate.
    pub pki: Pki,
    /// Where it publishes.
    pub broker: Mosquitto,
    time: TimeServer,
    image_key: PublicKey,
    powers: Powers,
    own: PathBuf,
}

impl Vendor {
    /// An office with its keys, a broker, and the image [`FIRST`].
    pub async fn new(programs: Programs) -> Self {
        let site = Site::new(programs).await;
        let pki = site.pki();
        let broker = Mosquitto::start(&pki).await;
        let own = site.operator("ca", "firmware").await;
        site.sensorctl("key", "firmware key --out image-key").await;
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let time = TimeServer::start(loopback, Behaviour::default()).await.expect("a time server");
        let image_key = public_key(&site.path("image-key/image.pub")).expect("the image key");
        let powers = Powers::load(&site.path("authority")).expect("the powers' keys");
        let vendor = Self { site, pki, broker, time, image_key, powers, own };
        vendor.image(FIRST, &body(FIRST, BODY_BYTES)).await;
        vendor
    }

    /// The key that images are signed with.
    pub fn image_key(&self) -> PublicKey {
        self.image_key
    }

    /// Whose documents devices obey.
    pub fn powers(&self) -> Powers {
        self.powers
    }

    /// Where devices ask for the time.
    pub fn time(&self) -> SocketAddr {
        self.time.address()
    }

    /// Makes the image `image-VERSION.bin` with this body, for Linux devices, and gives its bytes.
    pub async fn image(&self, version: &str, body: &[u8]) -> Vec<u8> {
        let (body_file, out) = (format!("body-{version}.bin"), format!("image-{version}.bin"));
        fs::write(self.site.path(&body_file), body).expect("a file for a body");
        let words = format!(
            "firmware image --body {body_file} --version {version} --board linux --key image-key --out {out}"
        );
        self.site.sensorctl("image", &words).await;
        fs::read(self.site.path(&out)).expect("the image just made")
    }

    /// Makes an image with this body and the release `release-VERSION` of it; `more` are words for `sensorctl firmware sign`.
    pub async fn release(&self, version: &str, body: &[u8], more: &str) -> String {
        self.image(version, body).await;
        let release = format!("release-{version}");
        let words = format!(
            "firmware sign --image image-{version}.bin --authority authority --board linux --out {release} \
             --image-key image-key/image.pub {more}"
        );
        self.site.sensorctl("sign", &words).await;
        release
    }

    /// Starts `sensorctl firmware publish` with a release; `more` are further words.
    pub fn start_publish(&self, release: &str, more: &str) -> Program {
        let (own, port) = (self.own.display(), self.broker.port());
        let words = format!(
            "firmware publish --release {release} --authority authority --ca ca --operator {own} --port {port} {more}"
        );
        self.site.start_sensorctl("publish", &words)
    }

    /// Puts a release on the broker, for all devices at once, and does not wait for them.
    pub async fn publish(&self, release: &str) {
        let ran: Ran = self.start_publish(release, "--share 100 --no-follow").ended().await;
        assert!(ran.status.success(), "sensorctl firmware publish: {}{}", ran.stdout, ran.stderr);
    }

    /// A device that reaches the broker through `port` and began with [`FIRST`]; its flash is in the vendor's folder.
    pub fn device(&self, id: &str, port: u16) -> Dut {
        let mut draft = dut::configuration(id, port, self.time()).draft();
        draft.update_spread_s = 0;
        let configuration = draft.check().expect("a configuration within its bounds");
        let folder = self.pki.enrol(&configuration);
        let first = fs::read(self.site.path(&format!("image-{FIRST}.bin"))).expect("the first image");
        let flash = self.site.path(&format!("flash-{id}"));
        Dut::new(folder, flash).updatable(self.powers, self.image_key, first)
    }

    /// The payloads of a release, the whole image first: what is in its manifest.
    pub fn payloads(&self, release: &str) -> Vec<PayloadUri> {
        payloads(&self.site.path(release))
    }
}

/// Where the payloads of a release are.
fn payloads(release: &Path) -> Vec<PayloadUri> {
    let text = fs::read_to_string(release.join("release.json")).expect("the release's description");
    let uris = text.split('"').filter_map(PayloadUri::decode);
    uris.collect()
}

/// A body without a rhyme in it, the same for the same name.
pub fn body(name: &str, bytes: usize) -> Vec<u8> {
    let seed = name.bytes().fold(7_u64, |seed, byte| seed.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte));
    let mut random = fastrand::Rng::with_seed(seed);
    let line = format!("firmware {name}\n");
    line.bytes().chain(std::iter::repeat_with(move || random.u8(..))).take(bytes).collect()
}
