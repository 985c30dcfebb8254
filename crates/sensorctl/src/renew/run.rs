//! The registration authority at the broker: requests in, answers out, until a signal ends it. Owns the connection. A request
//! is acknowledged only when the broker has the answer, so one that was cut comes again.

use super::{Granted, Registrar, RenewError};
use crate::operator::{Budget, Excess, Intake, NotLetIn, Operator, Wait, now, refused, wanted};
use protocol::topic::{ROOT, topic};
use protocol::{Channel, DeviceId, EpochMillis, Topic};
use rumqttc::{AsyncClient, Event, EventLoop, Outgoing, Packet, Publish, QoS};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

/// How long the last answers may take to reach the broker when it ends.
const FAREWELL: Duration = Duration::from_secs(5);

/// A device asks at its first connection, once an hour where nothing comes of it, and again when its link was cut.
const BUDGET: Budget = Budget {
    messages: 32,
    message_each: Duration::from_secs(60),
    kibibytes: 128,
    kibibyte_each: Duration::from_secs(15),
};

/// What happened.
#[derive(Debug)]
pub enum News<'a> {
    /// Connected and listening.
    Up,
    /// Not connected: why, and milliseconds until the next attempt.
    Down(&'a str, u64),
    /// A request was granted.
    Granted(&'a DeviceId, &'a Granted),
    /// A request was refused; whose topic it came on.
    Refused(&'a str, &'a RenewError),
    /// Messages of a device are dropped.
    Dropped(&'a DeviceId, Excess),
}

/// What was done, in requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Granted for the first time.
    pub granted: u64,
    /// Refused.
    pub refused: u64,
    /// Dropped unread: too long, or too many of one device.
    pub dropped: u64,
}

/// Why it ended by itself.
#[derive(Debug)]
pub enum RunError {
    /// The broker does not let the operator listen to this.
    Subscription(String),
    /// This side cannot grant anything any more.
    Registrar(RenewError),
    /// Signals or output.
    Io(io::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subscription(filter) => NotLetIn(filter).fmt(f),
            Self::Registrar(error) => {
                write!(f, "{error}; requests are kept by the broker until this runs again")
            }
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RunError {}

impl From<io::Error> for RunError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn filters() -> [String; 1] {
    [format!("{ROOT}/+/{}", Channel::IdentityRequest.as_str())]
}

/// Decides about requests until a signal, or until so many were granted for the first time. `tell` hears of everything; an
/// error of it ends the run.
pub async fn run(
    operator: &Operator,
    registrar: &mut Registrar,
    count: Option<u64>,
    mut tell: impl FnMut(EpochMillis, &News<'_>) -> io::Result<()>,
) -> Result<Done, RunError> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut session = Session::new(operator, Intake::new(BUDGET));
    let mut wait = Wait::new();
    let mut result = Ok(());
    while count.is_none_or(|count| session.done.granted < count) {
        session.flush();
        let event = tokio::select! {
            event = session.events.poll() => event,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        };
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                let (why, retry_ms) = wait.down(&error, Instant::now());
                tell(now(), &News::Down(&why, retry_ms))?;
                session = session.again(operator);
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(retry_ms)) => {}
                    _ = interrupt.recv() => break,
                    _ = terminate.recv() => break,
                }
                continue;
            }
        };
        match event {
            Event::Incoming(Packet::SubAck(ack)) => {
                if let Some(filter) = refused(&ack, &filters()) {
                    return Err(RunError::Subscription(filter));
                }
                wait.up(Instant::now());
                tell(now(), &News::Up)?;
            }
            Event::Incoming(Packet::Publish(request)) => {
                if let Err(error) = session.decide(registrar, request, &mut tell)? {
                    result = Err(RunError::Registrar(error));
                    break;
                }
            }
            event => session.take(&event),
        }
    }
    // What was granted must arrive; where it does not, the broker still has the requests.
    let _ = tokio::time::timeout(FAREWELL, session.farewell()).await;
    result.map(|()| Done { dropped: session.intake.dropped(), ..session.done })
}

struct Session {
    client: AsyncClient,
    events: EventLoop,
    /// To be sent, with the request that each answers.
    answers: VecDeque<(String, Vec<u8>, Publish)>,
    /// Sent; acknowledged in this order.
    sent: VecDeque<Publish>,
    /// Requests to acknowledge.
    taken: VecDeque<Publish>,
    subscribe: bool,
    intake: Intake,
    done: Done,
}

impl Session {
    fn new(operator: &Operator, intake: Intake) -> Self {
        let mut options = operator.options(false);
        options.set_manual_acks(true);
        let (client, events) = operator.connect(options);
        let (answers, sent, taken) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        Self { client, events, answers, sent, taken, subscribe: false, intake, done: Done::default() }
    }

    /// A new connection: what was not acknowledged comes again from the broker.
    fn again(self, operator: &Operator) -> Self {
        Self { done: self.done, ..Self::new(operator, self.intake) }
    }

    /// Gives the client what its queue has room for.
    fn flush(&mut self) {
        if self.subscribe {
            self.subscribe = self.client.try_subscribe_many(wanted(&filters())).is_err();
        }
        while let Some((topic, document, _)) = self.answers.front() {
            if self.client.try_publish(topic, QoS::AtLeastOnce, true, document.clone()).is_err() {
                break;
            }
            self.sent.extend(self.answers.pop_front().map(|(_, _, request)| request));
        }
        while let Some(request) = self.taken.front() {
            if self.client.try_ack(request).is_err() {
                break;
            }
            self.taken.pop_front();
        }
    }

    fn take(&mut self, event: &Event) {
        match event {
            // A session that the broker remembers listens already; listening again does no harm.
            Event::Incoming(Packet::ConnAck(_)) => self.subscribe = true,
            Event::Incoming(Packet::PubAck(_)) => self.taken.extend(self.sent.pop_front()),
            _ => {}
        }
    }

    /// The outer error is of the output, the inner one of the registrar.
    fn decide(
        &mut self,
        registrar: &mut Registrar,
        request: Publish,
        tell: &mut impl FnMut(EpochMillis, &News<'_>) -> io::Result<()>,
    ) -> io::Result<Result<(), RenewError>> {
        let Some(Topic { device, .. }) = Topic::decode(&request.topic) else {
            // Only a subscription of somebody else's making could bring it here.
            self.taken.push_back(request);
            return Ok(Ok(()));
        };
        if let Err(excess) = self.intake.admit(Instant::now(), &device, request.payload.len()) {
            self.taken.push_back(request);
            return excess.map_or(Ok(()), |excess| tell(now(), &News::Dropped(&device, excess))).map(Ok);
        }
        match registrar.decide(&device, &request.payload) {
            Ok(granted) => {
                tell(now(), &News::Granted(&device, &granted))?;
                self.done.granted += u64::from(!granted.repeated);
                let topic = topic(&device, Channel::IdentityDesired).as_str().to_owned();
                self.answers.push_back((topic, granted.document, request));
            }
            Err(error) => {
                tell(now(), &News::Refused(device.as_str(), &error))?;
                if error.is_ours() {
                    return Ok(Err(error));
                }
                self.done.refused += 1;
                self.taken.push_back(request);
            }
        }
        Ok(Ok(()))
    }

    async fn farewell(&mut self) {
        let mut leaving = false;
        loop {
            self.flush();
            let busy = !(self.answers.is_empty() && self.sent.is_empty() && self.taken.is_empty());
            if !busy && !leaving {
                leaving = self.client.try_disconnect().is_ok();
            }
            match self.events.poll().await {
                Ok(Event::Outgoing(Outgoing::Disconnect)) | Err(_) => return,
                Ok(event) => self.take(&event),
            }
        }
    }
}
