//! The one door through which signed documents come in. Owns the order in which each is judged, and which of them are known
//! already; never what one changes. R-AUTHORITY.
//!
//! ```text
//! form -> topic -> known already -> authority -> signature -> content -> audience -> number
//! ```
//!
//! What is retained comes again with every connection. What was taken on a topic is known by its digest: it is neither proven
//! again, nor counted, nor noted.

use crate::audit::RingError;
use crate::identity::Identity;
use crate::platform::{StorageError, VaultError};
use protocol::document::ContentType;
use protocol::key::sha256;
use protocol::signed::{Document, Envelope};
use protocol::{Channel, KeyId, Refusal};

/// Why a document was not taken, by whose fault that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// It is not good enough: it is counted, and its sender may be told.
    Peer(Refusal),
    /// The device's own store, vault or log failed: the document may be good, and comes again.
    Own(Own),
}

/// What of the device's own failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// The store.
    Storage(StorageError),
    /// The vault.
    Vault(VaultError),
    /// The security log.
    Log(RingError),
}

impl From<Refusal> for Rejected {
    fn from(refusal: Refusal) -> Self {
        Self::Peer(refusal)
    }
}

impl From<StorageError> for Rejected {
    fn from(error: StorageError) -> Self {
        Self::Own(Own::Storage(error))
    }
}

impl From<VaultError> for Rejected {
    fn from(error: VaultError) -> Self {
        Self::Own(Own::Vault(error))
    }
}

impl From<RingError> for Rejected {
    fn from(error: RingError) -> Self {
        Self::Own(Own::Log(error))
    }
}

/// Where a document comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entrance {
    Roots,
    Authority,
    Certificate,
    Configuration,
    GroupConfiguration,
    Log,
    Rollout,
    Command,
}

impl Entrance {
    /// How many there are.
    const COUNT: usize = Self::Command as usize + 1;

    /// The one of this channel; `None` for what the device itself publishes.
    pub(crate) const fn of(channel: Channel) -> Option<Self> {
        Some(match channel {
            Channel::RootsDesired => Self::Roots,
            Channel::AuthorityDesired => Self::Authority,
            Channel::IdentityDesired => Self::Certificate,
            Channel::ConfigDesired => Self::Configuration,
            Channel::LogDesired => Self::Log,
            Channel::Command => Self::Command,
            Channel::Hello
            | Channel::State
            | Channel::Telemetry
            | Channel::IdentityState
            | Channel::IdentityRequest
            | Channel::FirmwareState
            | Channel::ConfigState
            | Channel::CommandAnswer
            | Channel::Log => return None,
        })
    }

    /// Whether documents of this type come here.
    const fn takes(self, content_type: ContentType) -> bool {
        matches!(
            (self, content_type),
            (Self::Roots, ContentType::Roots)
                | (Self::Authority, ContentType::AuthorityKey)
                | (Self::Certificate, ContentType::Certificate)
                | (Self::Configuration | Self::GroupConfiguration, ContentType::Configuration)
                | (Self::Log, ContentType::LogAcknowledgement)
                | (Self::Rollout, ContentType::Rollout)
                | (Self::Command, ContentType::Command | ContentType::Retirement)
        )
    }
}

/// The beginning of the SHA-256 of a document as it was sent, by which it is known for the same, whoever's signature counts by
/// then. Who finds another one with the same beginning gains that it is not looked at.
pub(crate) type Mark = u64;

fn mark(document: &[u8]) -> Option<Mark> {
    sha256(&[document]).first_chunk().copied().map(u64::from_be_bytes)
}

/// The door.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// The last document that was taken at each entrance since the start.
    known: [Option<Mark>; Entrance::COUNT],
}

impl Gate {
    /// Form and topic; `None` where it is known already. `before`: what was known at the last start.
    pub(crate) fn open<'b>(
        &self,
        entrance: Entrance,
        document: &'b [u8],
        before: Option<Mark>,
    ) -> Result<Option<Letter<'b>>, Refusal> {
        let envelope = Envelope::decode(document)?;
        if !entrance.takes(envelope.content_type()) {
            return Err(Refusal::ContentType);
        }
        let mark = mark(document);
        let known = self.known.get(entrance as usize).copied().flatten();
        let is_known = mark.is_some() && (mark == known || mark == before);
        Ok((!is_known).then_some(Letter { envelope, mark }))
    }

    /// What has this mark was taken, and what it says is done: it is known from now on.
    pub(crate) fn took(&mut self, entrance: Entrance, mark: Option<Mark>) {
        if let Some(known) = self.known.get_mut(entrance as usize) {
            *known = mark;
        }
    }

    /// Nothing is known there any more.
    pub(crate) fn forget(&mut self, entrance: Entrance) {
        self.took(entrance, None);
    }
}

/// A document of which nothing is proven.
pub(crate) struct Letter<'b> {
    envelope: Envelope<'b>,
    mark: Option<Mark>,
}

impl<'b> Letter<'b> {
    /// For [`Gate::took`].
    pub(crate) const fn mark(&self) -> Option<Mark> {
        self.mark
    }

    /// What it says it is.
    pub(crate) const fn content_type(&self) -> ContentType {
        self.envelope.content_type()
    }

    /// Authority and signature.
    pub(crate) fn prove(&self, trust: &Identity) -> Result<Proven<'b>, Refusal> {
        let content_type = self.envelope.content_type();
        let key = trust.signer(&self.envelope, content_type.power())?;
        let payload = self.envelope.prove(content_type, key)?;
        Ok(Proven { payload, signer: self.envelope.signer(), mark: self.mark })
    }

    /// Authority, signature, content and audience.
    pub(crate) fn admit<T: Document<'b>>(&self, trust: &Identity) -> Result<Admitted<T>, Refusal> {
        if self.content_type() != T::CONTENT_TYPE {
            return Err(Refusal::ContentType);
        }
        self.prove(trust)?.read(trust)
    }
}

/// What somebody has signed who has the power for it.
pub(crate) struct Proven<'b> {
    payload: &'b [u8],
    signer: KeyId,
    mark: Option<Mark>,
}

impl<'b> Proven<'b> {
    /// As it was signed.
    pub(crate) const fn payload(&self) -> &'b [u8] {
        self.payload
    }

    /// Whose key has signed it.
    pub(crate) const fn signer(&self) -> KeyId {
        self.signer
    }

    /// Content and audience.
    pub(crate) fn read<T: Document<'b>>(&self, trust: &Identity) -> Result<Admitted<T>, Refusal> {
        let document = T::decode(self.payload)?;
        trust.check_audience(&document.audience())?;
        Ok(Admitted { document, signer: self.signer, mark: self.mark })
    }
}

/// A document that counts, but for its number. Only the door makes one.
#[derive(Debug)]
pub(crate) struct Admitted<T> {
    document: T,
    signer: KeyId,
    mark: Option<Mark>,
}

impl<T> Admitted<T> {
    /// Whose key has signed it.
    pub(crate) const fn signer(&self) -> KeyId {
        self.signer
    }

    /// For [`Gate::took`].
    pub(crate) const fn mark(&self) -> Option<Mark> {
        self.mark
    }
}

impl<T> core::ops::Deref for Admitted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.document
    }
}

/// A number must be larger than the last one that was used.
pub(crate) const fn newer(number: u32, last: u32) -> Result<(), Refusal> {
    if number > last {
        Ok(())
    } else if number == last {
        Err(Refusal::Replayed)
    } else {
        Err(Refusal::Older)
    }
}
