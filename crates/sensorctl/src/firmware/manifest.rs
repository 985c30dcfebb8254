//! A manifest that was proven, with everything in it owned: for the tool, which keeps it longer than the bytes it came in. Owns
//! how it is told to people. R-FW-MANIFEST.

use super::sbom;
use protocol::blocks::PayloadUri;
use protocol::firmware::{UpdateFault, Uuid};
use protocol::image::Version;
use protocol::key::{Digest, PublicKey};
use protocol::suit::{Envelope, ImageRef};
use protocol::{KeyId, Shown};
use serde_json::{Value, json};
use std::fmt;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Where a device may take the image from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where the payload is.
    pub uri: String,
    /// Digest of the image that it is a delta against.
    pub base: Option<Digest>,
}

impl Source {
    /// The payload, where it comes in blocks.
    pub fn payload(&self) -> Option<PayloadUri> {
        PayloadUri::decode(&self.uri)
    }
}

/// What a manifest says, and the bytes that say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The signed envelope.
    pub envelope: Vec<u8>,
    /// The digest that is signed: its name in a roll-out.
    pub digest: Digest,
    /// Grows with every manifest.
    pub sequence: u64,
    /// Whose devices it is for.
    pub vendor: Uuid,
    /// Which devices it is for.
    pub class: Uuid,
    /// Digest and size of the image.
    pub image: ImageRef,
    /// The image's version.
    pub version: Option<Version>,
    /// Not to be installed from then on, in seconds since 1970.
    pub use_before_s: Option<u64>,
    /// In the order in which devices try them.
    pub sources: Vec<Source>,
    /// For people.
    pub description: Option<String>,
    /// The tag that leads to the bill of materials (RFC 9393).
    pub sbom: Option<Vec<u8>>,
    /// Address of the MUD file, and the key that signs it.
    pub mud: Option<(String, KeyId)>,
}

impl Manifest {
    /// Proves that `envelope` is signed with the key of the power over firmware, and reads it.
    pub fn verify(envelope: &[u8], key: &PublicKey) -> Result<Self, UpdateFault> {
        let manifest = Envelope::decode(envelope)?.verify(key)?;
        let source =
            |source: &protocol::suit::Source<'_>| Source { uri: source.uri.to_owned(), base: source.base };
        Ok(Self {
            envelope: envelope.to_vec(),
            digest: manifest.digest(),
            sequence: manifest.sequence,
            vendor: manifest.vendor,
            class: manifest.class,
            image: manifest.image,
            version: manifest.version,
            use_before_s: manifest.use_before_s,
            sources: manifest.sources.iter().map(source).collect(),
            description: manifest.description.map(str::to_owned),
            sbom: manifest.sbom.map(<[u8]>::to_vec),
            mud: manifest.mud.map(|mud| (mud.url.to_owned(), mud.signer)),
        })
    }

    /// Where the bill of materials is.
    pub fn sbom_link(&self) -> Option<&str> {
        sbom::link(self.sbom.as_deref()?)
    }

    /// True from the time on at which it must not be installed any more.
    pub fn has_expired(&self, now_s: u64) -> bool {
        self.use_before_s.is_some_and(|end| now_s >= end)
    }

    /// The image's version as text.
    pub fn version_text(&self) -> String {
        self.version.map_or_else(|| "unknown".to_owned(), |version| version.to_string())
    }

    /// As an object for programs.
    pub fn json(&self) -> Value {
        let source = |source: &Source| {
            json!({
                "uri": source.uri, "base": source.base.map(|base| hex(&base)),
                "bytes": source.payload().map(|uri| uri.size),
                "blocks": source.payload().map(|uri| uri.count()),
            })
        };
        json!({
            "sequence": self.sequence, "version": self.version.map(|version| version.to_string()),
            "manifest": hex(&self.digest), "manifest_bytes": self.envelope.len(),
            "vendor": self.vendor.to_string(), "class": self.class.to_string(),
            "image": {"digest": hex(&self.image.digest), "bytes": self.image.size},
            "use_before": self.use_before_s.map(date), "description": self.description,
            "sources": self.sources.iter().map(source).collect::<Vec<_>>(),
            "sbom": self.sbom_link(),
            "mud": self.mud.as_ref().map(|(url, signer)| json!({"url": url, "signer": hex(&signer.0)})),
        })
    }
}

/// Lines for people; a text from the manifest is shown without control characters.
impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.envelope.len();
        writeln!(f, "manifest     {}, {bytes} bytes, sequence number {}", hex(&self.digest), self.sequence)?;
        writeln!(f, "version      {}", self.version_text())?;
        writeln!(f, "vendor       {}", self.vendor)?;
        writeln!(f, "class        {}", self.class)?;
        writeln!(f, "image        {} bytes, SHA-256 {}", self.image.size, hex(&self.image.digest))?;
        for source in &self.sources {
            let what = source
                .base
                .map_or_else(|| "whole image".to_owned(), |base| format!("delta against {}", short(&base)));
            let place = match source.payload() {
                Some(uri) if uri.count() == 1 => format!("{} bytes in 1 block", uri.size),
                Some(uri) => format!("{} bytes in {} blocks", uri.size, uri.count()),
                None => Shown(&source.uri).to_string(),
            };
            writeln!(f, "source       {what}: {place}")?;
        }
        if let Some(end) = self.use_before_s {
            writeln!(f, "use before   {}", date(end))?;
        }
        if let Some(text) = &self.description {
            writeln!(f, "description  {}", Shown(text))?;
        }
        if self.sbom.is_some() {
            writeln!(
                f,
                "SBOM         {}",
                self.sbom_link().map_or_else(|| "no link".to_owned(), |link| Shown(link).to_string())
            )?;
        }
        if let Some((url, signer)) = &self.mud {
            writeln!(f, "MUD          {} (signed with {signer})", Shown(url))?;
        }
        Ok(())
    }
}

/// All of it in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

/// The first eight bytes in hexadecimal, as devices name images.
pub fn short(digest: &Digest) -> String {
    hex(digest.first_chunk::<8>().map_or(&[][..], |first| first))
}

/// RFC 3339; the number where there is no such date.
pub fn date(seconds: u64) -> String {
    let time =
        i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| format!("{seconds} s after 1970"))
}
