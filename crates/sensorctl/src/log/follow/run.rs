//! Following logs at the broker: deliveries in, acknowledgements out, until a signal ends it. Owns the connection. A delivery is
//! acknowledged to the broker when it is on the disk, to the device when the collector says so.

use super::{Collector, FollowError, News};
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

/// How long the last acknowledgements may take to reach the broker when it ends.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long it sleeps where nothing is due.
const IDLE: Duration = Duration::from_secs(3_600);

/// At once, more than the log of any board holds; in the long run 86 MB a day, which is far more than a device has to say, as what it
/// says is written into its flash first. A device delivers again what was not acknowledged to it, so what is dropped is not lost.
const BUDGET: Budget = Budget {
    messages: 8_192,
    message_each: Duration::from_secs(1),
    kibibytes: 8_192,
    kibibyte_each: Duration::from_secs(1),
};

/// What happens.
#[derive(Debug)]
pub enum Told<'a> {
    /// Connected and listening.
    Up,
    /// Not connected: why, and milliseconds until the next attempt.
    Down(&'a str, u64),
    /// Something about a device's log.
    Device(&'a DeviceId, &'a News<'a>),
    /// So many bytes came on a topic that is none of a log.
    Stray(usize),
    /// Messages of a device are dropped.
    Dropped(&'a DeviceId, Excess),
}

/// Why it ended by itself.
#[derive(Debug)]
pub enum RunError {
    /// The broker does not let the operator listen to this.
    Subscription(String),
    /// This side cannot keep anything any more.
    Follow(FollowError),
    /// Signals or output.
    Io(io::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subscription(filter) => NotLetIn(filter).fmt(f),
            Self::Follow(error) => {
                write!(f, "{error}; devices keep what was not acknowledged until this runs again")
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

impl From<FollowError> for RunError {
    fn from(error: FollowError) -> Self {
        Self::Follow(error)
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Records that were stored.
    pub records: u64,
    /// Deliveries that were not taken.
    pub refused: u64,
    /// Messages that were dropped unread: too long, or too many of one device.
    pub dropped: u64,
    /// Acknowledgements that the broker has.
    pub acknowledged: u64,
}

/// Follows until a signal, or until so many records are stored. `tell` hears of everything; an error of it ends the run.
pub async fn run(
    operator: &Operator,
    collector: &mut Collector,
    count: Option<u64>,
    mut tell: impl FnMut(EpochMillis, &Told<'_>) -> io::Result<()>,
) -> Result<Done, RunError> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut session = Session::new(operator, filters(collector), Intake::new(BUDGET));
    let mut wait = Wait::new();
    let mut result = Ok(());
    while count.is_none_or(|count| session.done.records < count) {
        if let Err(error) = session.acknowledge(collector, &mut tell) {
            result = Err(error);
            break;
        }
        session.flush();
        let pause = collector
            .next_due()
            .map_or(IDLE, |due| Duration::from_millis(u64::try_from(due.since(now())).unwrap_or_default()));
        let event = tokio::select! {
            event = session.events.poll() => event,
            () = tokio::time::sleep(pause) => continue,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        };
        match event {
            Ok(Event::Incoming(Packet::SubAck(ack))) => {
                if let Some(filter) = refused(&ack, &session.filters) {
                    return Err(RunError::Subscription(filter));
                }
                wait.up(Instant::now());
                tell(now(), &Told::Up)?;
            }
            Ok(Event::Incoming(Packet::Publish(delivery))) => {
                if let Err(error) = session.take(collector, delivery, &mut tell) {
                    result = Err(error);
                    break;
                }
            }
            Ok(event) => session.hear(&event),
            Err(error) => {
                let (why, retry_ms) = wait.down(&error, Instant::now());
                tell(now(), &Told::Down(&why, retry_ms))?;
                session = session.again(operator);
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(retry_ms)) => {}
                    _ = interrupt.recv() => break,
                    _ = terminate.recv() => break,
                }
            }
        }
    }
    if result.is_ok() {
        collector.hurry(now());
        result = session.acknowledge(collector, &mut tell);
    }
    // What does not get through is acknowledged when this runs again.
    let _ = tokio::time::timeout(FAREWELL, session.farewell()).await;
    result.map(|()| Done { dropped: session.intake.dropped(), ..session.done })
}

fn filters(collector: &Collector) -> Vec<String> {
    let filter = |device: &str| format!("{ROOT}/{device}/{}", Channel::Log.as_str());
    if collector.only().is_empty() {
        vec![filter("+")]
    } else {
        collector.only().iter().map(|device| filter(device.as_str())).collect()
    }
}

struct Session {
    client: AsyncClient,
    events: EventLoop,
    filters: Vec<String>,
    subscribe: bool,
    /// Acknowledgements to be sent.
    outgoing: VecDeque<(DeviceId, Vec<u8>)>,
    /// Sent; the broker has them in this order.
    sent: VecDeque<(DeviceId, Vec<u8>)>,
    /// Deliveries that the broker need not keep any more.
    taken: VecDeque<Publish>,
    intake: Intake,
    done: Done,
}

impl Session {
    fn new(operator: &Operator, filters: Vec<String>, intake: Intake) -> Self {
        let mut options = operator.options(false);
        options.set_manual_acks(true);
        let (client, events) = operator.connect(options);
        let (outgoing, sent, taken) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        Self {
            client,
            events,
            filters,
            subscribe: false,
            outgoing,
            sent,
            taken,
            intake,
            done: Done::default(),
        }
    }

    /// A new connection: deliveries that were not acknowledged come again from the broker, and acknowledgements that it may
    /// not have go to it again.
    fn again(self, operator: &Operator) -> Self {
        let mut outgoing = self.sent;
        outgoing.extend(self.outgoing);
        Self { outgoing, done: self.done, ..Self::new(operator, self.filters, self.intake) }
    }

    /// Gives the client what its queue has room for.
    fn flush(&mut self) {
        if self.subscribe {
            self.subscribe = self.client.try_subscribe_many(wanted(&self.filters)).is_err();
        }
        while let Some((device, document)) = self.outgoing.front() {
            let topic = topic(device, Channel::LogDesired);
            if self.client.try_publish(topic.as_str(), QoS::AtLeastOnce, true, document.clone()).is_err() {
                break;
            }
            self.sent.extend(self.outgoing.pop_front());
        }
        while let Some(delivery) = self.taken.front() {
            if self.client.try_ack(delivery).is_err() {
                break;
            }
            self.taken.pop_front();
        }
    }

    fn hear(&mut self, event: &Event) {
        match event {
            // A session that the broker remembers listens already; listening again does no harm.
            Event::Incoming(Packet::ConnAck(_)) => self.subscribe = true,
            Event::Incoming(Packet::PubAck(_)) => {
                self.done.acknowledged += u64::from(self.sent.pop_front().is_some());
            }
            _ => {}
        }
    }

    fn take(
        &mut self,
        collector: &mut Collector,
        delivery: Publish,
        tell: &mut impl FnMut(EpochMillis, &Told<'_>) -> io::Result<()>,
    ) -> Result<(), RunError> {
        let now = now();
        match Topic::decode(&delivery.topic) {
            Some(Topic { device, channel: Channel::Log }) => {
                match self.intake.admit(Instant::now(), &device, delivery.payload.len()) {
                    Ok(()) => telling(now, tell, &mut self.done, |tell| {
                        collector.take(now, &device, &delivery.payload, tell)
                    })?,
                    Err(Some(excess)) => tell(now, &Told::Dropped(&device, excess))?,
                    Err(None) => {}
                }
            }
            // Only a subscription of somebody else's making, or a broker of ill will, could bring it here.
            _ => tell(now, &Told::Stray(delivery.payload.len()))?,
        }
        self.taken.push_back(delivery);
        Ok(())
    }

    fn acknowledge(
        &mut self,
        collector: &mut Collector,
        tell: &mut impl FnMut(EpochMillis, &Told<'_>) -> io::Result<()>,
    ) -> Result<(), RunError> {
        let now = now();
        if collector.next_due().is_none_or(|due| due > now) {
            return Ok(());
        }
        let documents = telling(now, tell, &mut self.done, |tell| collector.due(now, tell))?;
        for (device, document) in documents {
            // The newest says all that older ones say.
            self.outgoing.retain(|(other, _)| *other != device);
            self.outgoing.push_back((device, document));
        }
        Ok(())
    }

    async fn farewell(&mut self) {
        let mut leaving = false;
        loop {
            self.flush();
            let busy = !(self.outgoing.is_empty() && self.sent.is_empty() && self.taken.is_empty());
            if !busy && !leaving {
                leaving = self.client.try_disconnect().is_ok();
            }
            match self.events.poll().await {
                Ok(Event::Outgoing(Outgoing::Disconnect)) | Err(_) => return,
                Ok(event) => self.hear(&event),
            }
        }
    }
}

/// Does `work` with somebody who counts what is told and hands it on; the error of the output comes first.
fn telling<T>(
    now: EpochMillis,
    tell: &mut impl FnMut(EpochMillis, &Told<'_>) -> io::Result<()>,
    done: &mut Done,
    work: impl FnOnce(&mut dyn FnMut(&DeviceId, &News<'_>)) -> Result<T, FollowError>,
) -> Result<T, RunError> {
    let mut output = Ok(());
    let mut hear = |device: &DeviceId, news: &News<'_>| {
        match news {
            News::Records(lines) => done.records += lines.len() as u64,
            News::Refused(_) => done.refused += 1,
            _ => {}
        }
        if output.is_ok() {
            output = tell(now, &Told::Device(device, news));
        }
    };
    let worked = work(&mut hear);
    output?;
    Ok(worked?)
}
