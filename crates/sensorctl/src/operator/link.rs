//! What every program does with its connection: waits between attempts, tells who else uses its name, reads which subscription
//! was refused, and takes leave. Owns the rules for it, never a connection nor a message.

use super::reason;
use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, Outgoing, QoS, StateError, SubAck, SubscribeFilter,
    SubscribeReasonCode, TlsError, mqttbytes,
};
use std::io;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Shortest and longest wait between two attempts to connect, in milliseconds; it doubles in between.
pub(crate) const RETRY_MS: std::ops::RangeInclusive<u64> = 250..=8_000;
/// A connection that lasted so long was a good one: the wait after it is the shortest again.
pub(crate) const HEALTHY: Duration = Duration::from_secs(60);
/// So many connections in a row that the broker ended before they were good ones: it serves somebody else under this name.
const TAKEN_OVER: u32 = 2;
/// How long taking leave may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// The wait between two attempts to connect.
#[derive(Debug)]
pub(crate) struct Wait {
    ms: u64,
    up: Option<Instant>,
    /// Connections in a row that were up and that the broker ended.
    ended: u32,
}

impl Wait {
    pub(crate) const fn new() -> Self {
        Self { ms: *RETRY_MS.start(), up: None, ended: 0 }
    }

    /// The connection listens.
    pub(crate) fn up(&mut self, now: Instant) {
        self.up = Some(now);
    }

    /// The connection or the attempt has failed: why, for a person, and milliseconds until the next attempt.
    pub(crate) fn down(&mut self, error: &ConnectionError, now: Instant) -> (String, u64) {
        let lasted = self.up.take().map(|up| now.saturating_duration_since(up));
        if lasted.is_some_and(|lasted| lasted >= HEALTHY) {
            *self = Self::new();
        }
        // Where it is not even there, it did not end the connection for somebody else.
        let ended = lasted.is_some() && is_ended_by_broker(error);
        self.ended = if ended { self.ended + 1 } else { 0 };
        let why = match self.ended {
            TAKEN_OVER.. => format!(
                "{}; the broker has ended {} connections in a row: another program uses this certificate or client \
                 identifier, or the broker restarts. Each program needs a certificate of its own: `sensorctl ca operator`, \
                 then --operator",
                reason(error),
                self.ended
            ),
            _ => reason(error),
        };
        let ms = self.ms;
        self.ms = (ms * 2).min(*RETRY_MS.end());
        (why, ms)
    }

    /// True while somebody else seems to take this program's connections, and what is meant for it.
    pub(crate) const fn is_taken_over(&self) -> bool {
        self.ended >= TAKEN_OVER
    }
}

fn is_ended_by_broker(error: &ConnectionError) -> bool {
    let of = |error: &io::Error| {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
    };
    match error {
        ConnectionError::MqttState(StateError::ConnectionAborted) => true,
        ConnectionError::MqttState(
            StateError::Io(error) | StateError::Deserialization(mqttbytes::Error::Io(error)),
        )
        | ConnectionError::Io(error)
        | ConnectionError::Tls(TlsError::Io(error)) => of(error),
        _ => false,
    }
}

/// These filters, to be subscribed to with QoS 1.
pub(crate) fn wanted(filters: &[String]) -> impl Iterator<Item = SubscribeFilter> {
    filters.iter().map(|path| SubscribeFilter { path: path.clone(), qos: QoS::AtLeastOnce })
}

/// The first of these filters that the broker has refused.
pub(crate) fn refused(ack: &SubAck, filters: &[String]) -> Option<String> {
    let mut codes = ack.return_codes.iter().zip(filters);
    codes.find(|(code, _)| **code == SubscribeReasonCode::Failure).map(|(_, filter)| filter.clone())
}

/// Takes leave of a broker to which everything was said: one that does not take it costs nothing.
pub(crate) async fn leave(client: &AsyncClient, events: &mut EventLoop) {
    if client.try_disconnect().is_ok() {
        let gone = async {
            while let Ok(event) = events.poll().await {
                if matches!(event, Event::Outgoing(Outgoing::Disconnect)) {
                    break;
                }
            }
        };
        let _ = timeout(FAREWELL, gone).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDED: ConnectionError = ConnectionError::MqttState(StateError::ConnectionAborted);

    fn absent() -> ConnectionError {
        ConnectionError::Io(io::ErrorKind::ConnectionRefused.into())
    }

    #[test]
    fn whichever_way_the_other_side_goes_it_has_ended_the_connection() {
        use io::ErrorKind::{ConnectionReset, InvalidData, UnexpectedEof};
        let reading =
            |kind: io::ErrorKind| StateError::Deserialization(mqttbytes::Error::Io(io::Error::from(kind)));
        for (error, expected) in [
            (ConnectionError::MqttState(StateError::ConnectionAborted), true),
            (ConnectionError::MqttState(reading(UnexpectedEof)), true),
            (ConnectionError::MqttState(reading(ConnectionReset)), true),
            (ConnectionError::MqttState(reading(InvalidData)), false),
            (ConnectionError::MqttState(StateError::Io(ConnectionReset.into())), true),
            (ConnectionError::Io(UnexpectedEof.into()), true),
            (ConnectionError::NetworkTimeout, false),
        ] {
            assert_eq!(is_ended_by_broker(&error), expected, "{error:?}");
            assert!(!super::super::reason(&error).contains("serialization"), "{error}");
        }
    }

    #[test]
    fn the_wait_is_forgotten_only_after_a_healthy_minute() {
        let (mut wait, mut now) = (Wait::new(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..7 {
            wait.up(now);
            now += HEALTHY / 2;
            waits.push(wait.down(&ENDED, now).1);
        }
        assert_eq!(waits, [250, 500, 1_000, 2_000, 4_000, 8_000, 8_000]);
        wait.up(now);
        assert_eq!(wait.down(&ENDED, now + HEALTHY).1, 250);
    }

    #[test]
    fn another_program_with_the_same_name_is_told_when_the_broker_ends_one_connection_after_the_other() {
        let (mut wait, now) = (Wait::new(), Instant::now());
        let mut end = |error: &ConnectionError, lasted: Option<Duration>| {
            if lasted.is_some() {
                wait.up(now);
            }
            let (why, _) = wait.down(error, now + lasted.unwrap_or_default());
            assert_eq!(why.contains("another program uses this certificate"), wait.is_taken_over(), "{why}");
            wait.is_taken_over()
        };
        let short = Some(Duration::from_secs(1));
        assert!(!end(&ENDED, Some(HEALTHY * 2)), "once may be anything");
        assert!(end(&ENDED, short));
        assert!(!end(&absent(), None), "a broker that is not there");
        assert!(!end(&ENDED, short));
        assert!(!end(&ConnectionError::NetworkTimeout, short), "a link that is bad");
        assert!(!end(&ENDED, None), "never up");
        assert!(!end(&ENDED, short));
        assert!(end(
            &ConnectionError::MqttState(StateError::Io(io::ErrorKind::ConnectionReset.into())),
            short
        ));
    }
}
