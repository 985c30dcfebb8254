//! The verbs that every machine has. Owns no decision.

use crate::cx::Cx;
use crate::identity::Identity;
use crate::mail::Mail;
use crate::platform::Uptime;

/// A part of the device that owns one asset of the threat model.
pub(crate) trait Machine<P> {
    /// What time has brought: called before anything is sent.
    fn tick(&mut self, cx: &mut Cx<P>, trust: &Identity);

    /// Writes the message into the context's buffer where it is due; gives its length in bytes.
    fn write(&mut self, mail: Mail, cx: &mut Cx<P>, trust: &Identity) -> Option<usize>;

    /// The service has acknowledged a message of this machine.
    fn acknowledged(&mut self, mail: Mail, cx: &mut Cx<P>);

    /// When [`Self::tick`] or [`Self::write`] next has something to do, if nothing happens before.
    fn next_deadline(&self, cx: &Cx<P>, trust: &Identity) -> Option<Uptime>;
}
