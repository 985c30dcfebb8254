//! What each document must be beyond the form of its payload.

use super::Document;
use crate::config::{CONFIGURATION_BYTES_MAX, Change, SAMPLE_PERIOD};
use crate::document::{
    Action, Audience, AuthorityKey, BURST_PERIOD_MS_MAX, BURST_SAMPLES_MAX, CSR_BYTES_MAX, Command,
    ContentType, IdentityCertificate, LogAcknowledgement, LogDelivery, Power, Provision, RenewalRequest,
    Retirement, Rollout, RootList,
};
use crate::firmware::SHARE_MAX;
use crate::json::EncodeError;
use crate::reason::Refusal;
use crate::strict;

/// Checks what the form leaves open; that lists are not empty is part of it.
trait Content {
    fn check(&self) -> Result<(), Refusal>;
}

/// Some of the documents are made for one device and mean nothing to another.
fn is_for_one(audience: &Audience) -> Result<(), Refusal> {
    if matches!(audience, Audience::Device(_)) { Ok(()) } else { Err(Refusal::Audience) }
}

fn promised(promise: bool) -> Result<(), Refusal> {
    if promise { Ok(()) } else { Err(Refusal::Payload) }
}

impl Content for RootList<'_> {
    fn check(&self) -> Result<(), Refusal> {
        Ok(())
    }
}

impl Content for AuthorityKey {
    fn check(&self) -> Result<(), Refusal> {
        promised(matches!(self.power, Power::Firmware | Power::Configuration | Power::Anchors))
    }
}

impl Content for IdentityCertificate<'_> {
    fn check(&self) -> Result<(), Refusal> {
        is_for_one(&self.audience)
    }
}

impl Content for Command {
    fn check(&self) -> Result<(), Refusal> {
        match self.action {
            Action::Burst { samples, period_ms } => promised(
                (1..=BURST_SAMPLES_MAX).contains(&samples)
                    && (SAMPLE_PERIOD.min as u32..=BURST_PERIOD_MS_MAX).contains(&period_ms),
            ),
            Action::Report | Action::Reboot | Action::Rotate | Action::SendLog { .. } => Ok(()),
        }
    }
}

impl Content for LogDelivery<'_> {
    fn check(&self) -> Result<(), Refusal> {
        is_for_one(&self.audience)
    }
}

impl Content for LogAcknowledgement {
    fn check(&self) -> Result<(), Refusal> {
        is_for_one(&self.audience)
    }
}

impl Content for Rollout {
    fn check(&self) -> Result<(), Refusal> {
        promised(self.share <= SHARE_MAX)
    }
}

impl Content for Retirement {
    fn check(&self) -> Result<(), Refusal> {
        is_for_one(&self.audience)
    }
}

impl Content for Provision<'_> {
    fn check(&self) -> Result<(), Refusal> {
        promised((1..=CONFIGURATION_BYTES_MAX).contains(&self.configuration.len()))?;
        is_for_one(&self.audience)
    }
}

impl Content for RenewalRequest<'_> {
    fn check(&self) -> Result<(), Refusal> {
        for csr in [self.identity_csr, self.tls_csr] {
            promised((1..=CSR_BYTES_MAX).contains(&csr.len()))?;
        }
        is_for_one(&self.audience)
    }
}

macro_rules! cbor_documents {
    ($($document:ty, $content_type:ident, $number:expr;)+) => {
        $(impl<'b> Document<'b> for $document {
            const CONTENT_TYPE: ContentType = ContentType::$content_type;

            fn decode(payload: &'b [u8]) -> Result<Self, Refusal> {
                let document: Self = strict::decode(payload).ok_or(Refusal::Payload)?;
                document.check().map(|()| document)
            }

            fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
                strict::encode(self, out)
            }

            fn audience(&self) -> Audience {
                self.audience.clone()
            }

            fn number(&self) -> u32 {
                let number: fn(&Self) -> u32 = $number;
                number(self)
            }
        })+
    };
}

cbor_documents! {
    RootList<'b>, Roots, |it| it.number;
    AuthorityKey, AuthorityKey, |it| it.number;
    IdentityCertificate<'b>, Certificate, |it| it.number;
    Command, Command, |it| it.number;
    Retirement, Retirement, |it| it.number;
    Rollout, Rollout, |it| it.number;
    // Its nonce stands for the number.
    Provision<'b>, Provision, |_| 0;
    RenewalRequest<'b>, RenewalRequest, |it| it.number;
    LogDelivery<'b>, Log, |it| it.number;
    LogAcknowledgement, LogAcknowledgement, |it| it.number;
}

/// JSON: read as strictly as [`Change::decode`] does, but people may put blanks where they like.
impl<'b> Document<'b> for Change {
    const CONTENT_TYPE: ContentType = ContentType::Configuration;

    fn decode(payload: &'b [u8]) -> Result<Self, Refusal> {
        Self::decode(payload).map_err(|_| Refusal::Configuration)
    }

    fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        self.encode(out)
    }

    fn audience(&self) -> Audience {
        self.audience.clone()
    }

    fn number(&self) -> u32 {
        self.number
    }
}
