//! The token with which the device proves itself where no certificate does: when one is made, and when the next one is needed.
//! R-SECRET-STORE.

use super::{Credentials, Identity, sealing};
use crate::cx::Cx;
use crate::platform::{Platform, Uptime};
use crate::vault;
use core::fmt;
use protocol::config::Authentication;
use protocol::token::{Claims, LIFE_S_MAX, TOKEN_BYTES_MAX};

/// Shortest life of a token in seconds: below it the device would only reconnect.
const TOKEN_LIFE_S_MIN: u64 = 10;

/// The token in use, which is in no debug output.
pub(crate) struct Token {
    bytes: [u8; TOKEN_BYTES_MAX],
    renewal: Option<Uptime>,
}

impl Default for Token {
    fn default() -> Self {
        Self { bytes: [0; TOKEN_BYTES_MAX], renewal: None }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// Signs one where the device proves itself with a token, as it is configured or because its certificate has ended: its
    /// length, or that there is none.
    pub(crate) fn sign<P: Platform>(
        &mut self,
        cx: &mut Cx<P>,
        trust: &Identity,
        credentials: Credentials,
    ) -> Option<Result<usize, ()>> {
        self.renewal = None;
        let time = cx.time_or_zero();
        if cx.configuration.auth != Authentication::Token && !trust.needs_token(credentials.slot, time) {
            return None;
        }
        let life = u64::from(cx.policy.token_life_s).clamp(TOKEN_LIFE_S_MIN, LIFE_S_MAX);
        let issued_s = time.seconds();
        let claims = Claims {
            issued_s,
            expires_s: issued_s + life,
            audience: cx.configuration.service().0,
            subject: trust.id(),
        };
        match vault::token(&mut cx.platform, credentials.slot, &claims, &mut self.bytes) {
            Ok(len) => {
                self.renewal = Some(cx.now.after(life * 800));
                Some(Ok(len))
            }
            Err(error) => {
                cx.identity_failed(sealing(error));
                Some(Err(()))
            }
        }
    }

    /// The first `len` bytes of it.
    pub(crate) fn text(&self, len: usize) -> Option<&str> {
        core::str::from_utf8(self.bytes.get(..len)?).ok()
    }

    /// Connects again with a new token before the one in use ends.
    pub(crate) fn tick<P: Platform>(&mut self, cx: &mut Cx<P>) {
        if cx.session.is_running() && self.renewal.is_some_and(|at| cx.now >= at) {
            self.renewal = None;
            cx.reconnect_now();
        }
    }

    /// When [`Self::tick`] next has something to do.
    pub(crate) fn next_deadline<P: Platform>(&self, cx: &Cx<P>) -> Option<Uptime> {
        self.renewal.filter(|_| cx.session.is_running())
    }
}
