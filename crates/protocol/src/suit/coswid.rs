//! A CoSWID (RFC 9393) that names the firmware and links to its bill of materials. Owns its form; a device passes over it.

use crate::firmware::Uuid;
use crate::json::EncodeError;
use crate::strict;
use minicbor::data::Tag;
use minicbor::encode::{Error, Write};
use minicbor::{Encode, Encoder};

/// Labels of a `concise-swid-tag`, of its entity and of its link (RFC 9393, section 2).
mod label {
    pub(super) const TAG_ID: u8 = 0;
    pub(super) const SOFTWARE_NAME: u8 = 1;
    pub(super) const ENTITY: u8 = 2;
    pub(super) const LINK: u8 = 4;
    pub(super) const TAG_VERSION: u8 = 12;
    pub(super) const SOFTWARE_VERSION: u8 = 13;
    pub(super) const ENTITY_NAME: u8 = 31;
    pub(super) const ROLE: u8 = 33;
    pub(super) const HREF: u8 = 38;
    pub(super) const REL: u8 = 40;
}

/// Roles of an entity: it made the tag, and the software.
const ROLES: [u8; 2] = [1, 2];
/// How the bill of materials is linked: a name of IANA's registry of link relations.
const DESCRIBED_BY: &str = "describedby";
const URI: Tag = Tag::new(32);

/// What a tag says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coswid<'b> {
    /// The tag's own id: another one for every version of the software.
    pub id: Uuid,
    /// What the software is called.
    pub software: &'b str,
    /// Its version, as people write it.
    pub version: &'b str,
    /// Who makes the software and the tag.
    pub maker: &'b str,
    /// Address of the bill of materials.
    pub sbom: &'b str,
}

impl Coswid<'_> {
    /// Writes the tag into `out`; gives its length in bytes. For [`super::Manifest::sbom`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        strict::encode(self, out)
    }
}

impl Encode<()> for Coswid<'_> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, (): &mut ()) -> Result<(), Error<W::Error>> {
        e.map(6)?.u8(label::TAG_ID)?.bytes(&self.id.0)?.u8(label::SOFTWARE_NAME)?.str(self.software)?;
        e.u8(label::ENTITY)?.map(2)?.u8(label::ENTITY_NAME)?.str(self.maker)?;
        e.u8(label::ROLE)?.array(2)?.u8(ROLES[0])?.u8(ROLES[1])?;
        e.u8(label::LINK)?.map(2)?.u8(label::HREF)?.tag(URI)?.str(self.sbom)?;
        e.u8(label::REL)?.str(DESCRIBED_BY)?;
        e.u8(label::TAG_VERSION)?.u8(0)?.u8(label::SOFTWARE_VERSION)?.str(self.version)?.ok()
    }
}
