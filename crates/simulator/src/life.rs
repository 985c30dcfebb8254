//! A device from the factory to its end: blank on its factory's line, in service, blank again or destroyed. Owns the order of
//! these, decides none of them. R-PROVISION, R-REPROVISION, R-DESTROY.

use crate::line::Line;
use crate::machine::Machine;
use crate::port::{Port, PortError, Stop, Summary, build_time, version_name};
use crate::product;
use device::identity::IdentityError;
use device::provisioning::{About, Document, Factory, InService, Standing, standing};
use device::{End, KeyValue};
use protocol::provisioning::MESSAGE_BYTES_MAX;
use protocol::signed::PROVISION_DOCUMENT_BYTES_MAX;
use protocol::{Name, PublicKey};
use thiserror::Error;

/// Why a life cannot go on.
#[derive(Debug, Error)]
pub enum LifeError {
    /// Store or vault failed.
    #[error("{0}")]
    Identity(IdentityError),
    /// The device cannot run.
    #[error(transparent)]
    Port(#[from] PortError),
    /// It was destroyed.
    #[error("the device was destroyed: it never works again")]
    Destroyed,
}

/// What came of one call of [`serve`].
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It was provisioned: call again, and it runs.
    Provisioned,
    /// It ran and stopped, or its life has ended: `end` in the summary says so.
    Ran(Box<Summary>),
    /// It was stopped while it waited for its factory.
    StillBlank,
}

/// What this program says of itself on a factory's line.
pub fn about(factory: PublicKey, injection: bool) -> About {
    About {
        // Both are far shorter than a name may be.
        firmware: Name::try_from(env!("CARGO_PKG_VERSION")).unwrap_or_default(),
        board: Name::try_from(product::BOARD).unwrap_or_default(),
        serial: Name::default(),
        build: build_time(),
        factory,
        injection,
    }
}

/// Does what the device is there for at this point of its life, and answers on `line` all the while.
pub async fn serve<S: KeyValue>(
    machine: &mut Machine<S>,
    line: &mut Line,
    about: &About,
    port: Port,
    mut stop: Stop,
) -> Result<Outcome, LifeError> {
    let mut answer = [0; MESSAGE_BYTES_MAX];
    let firmware = machine.slots.version().and_then(version_name);
    let about = About { firmware: firmware.unwrap_or_else(|| about.firmware.clone()), ..about.clone() };
    match standing(machine).map_err(LifeError::Identity)? {
        Standing::Blank => {
            let mut factory = Factory::new(machine, about, OwnDocument::new());
            while !factory.is_provisioned() {
                tokio::select! {
                    message = line.next() => {
                        let len = factory.message(&message, &mut answer);
                        line.send(&answer[..len]);
                    }
                    () = stop.requested() => return Ok(Outcome::StillBlank),
                }
            }
            Ok(Outcome::Provisioned)
        }
        Standing::Provisioned => {
            let in_service = InService::new(about, OwnDocument::new());
            Ok(Outcome::Ran(Box::new(port.run_on(machine, stop, Some((line, in_service))).await?)))
        }
        Standing::Destroyed => Err(LifeError::Destroyed),
    }
}

/// True where this was the end of a life after which another one can begin.
pub fn begins_again(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Provisioned => true,
        Outcome::Ran(summary) => summary.end == Some(End::Blank),
        Outcome::StillBlank => false,
    }
}

/// The document's place, on the heap.
pub(crate) struct OwnDocument(Box<Document>);

impl OwnDocument {
    fn new() -> Self {
        Self(Box::new([0; PROVISION_DOCUMENT_BYTES_MAX]))
    }
}

impl std::borrow::Borrow<Document> for OwnDocument {
    fn borrow(&self) -> &Document {
        &self.0
    }
}

impl std::borrow::BorrowMut<Document> for OwnDocument {
    fn borrow_mut(&mut self) -> &mut Document {
        &mut self.0
    }
}
