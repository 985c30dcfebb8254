//! An order at the broker: listens, publishes, waits for the answers. Owns the connection.

use super::{Order, Standing};
use crate::operator::{Intake, Operator, STATES, leave, reason, refused, wanted};
use protocol::topic::ROOT;
use protocol::{DeviceId, Topic};
use rumqttc::{Event, Packet, Publish, QoS};
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

/// Messages that wait for their acknowledgement at the same time.
const IN_FLIGHT: usize = 32;
/// Topics that are listened to one by one; where there are more devices, to those of all.
const FILTERS_MAX: usize = 32;
/// How often connecting is tried again without anything getting through, and the wait before each.
const RETRIES: u32 = 5;
const RETRY: Duration = Duration::from_secs(1);

/// Why an order did not get through.
#[derive(Debug)]
pub enum OrderError {
    /// There is no connection: messages that the broker has, all, and why the last attempt failed.
    Connection(usize, usize, String),
    /// The broker does not let the operator read this.
    Subscription(String),
    /// Signals.
    Io(io::Error),
}

impl fmt::Display for OrderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(done, of, why) => write!(
                f,
                "the broker has {done} of {of} messages: {why}; run the same command again: each device begins a command \
                 at most once, and the newest one counts"
            ),
            Self::Subscription(filter) => write!(
                f,
                "the broker refuses the subscription to {filter}: its access list must let the operator read it, or use \
                 --no-wait"
            ),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OrderError {}

/// How far it is.
#[derive(Debug)]
pub enum Told<'a> {
    /// Messages that the broker has.
    Sent(usize),
    /// A device has answered.
    Answer(&'a DeviceId, Standing),
    /// What a device says is of no use: why. It is told once for each device.
    Odd(&'a DeviceId, &'a str),
}

/// What devices may say, and whose useless words were told.
struct Ear {
    intake: Intake,
    told: BTreeSet<DeviceId>,
}

impl Ear {
    fn hear(&mut self, order: &mut Order, answer: &Publish, tell: &mut impl FnMut(&Order, &Told<'_>)) {
        let Some(Topic { device, .. }) = Topic::decode(&answer.topic) else { return };
        let odd = match self.intake.admit(Instant::now(), &device, answer.payload.len()) {
            Ok(()) => order.unreadable(&answer.payload),
            Err(excess) => excess.map(|excess| excess.to_string()).or(Some(String::new())),
        };
        match odd {
            None => {
                if let Some((device, standing)) = order.hear(&answer.topic, &answer.payload, !answer.retain) {
                    tell(order, &Told::Answer(&device, standing));
                }
            }
            Some(why) if self.told.insert(device.clone()) => tell(order, &Told::Odd(&device, &why)),
            Some(_) => {}
        }
    }
}

/// Publishes the order and hears the answers until all are there, until `patience` has passed since the broker had the last
/// message, or until a signal.
pub async fn run(
    operator: &Operator,
    order: &mut Order,
    patience: Duration,
    mut tell: impl FnMut(&Order, &Told<'_>),
) -> Result<(), OrderError> {
    let handler = |kind| signal(kind).map_err(OrderError::Io);
    let (mut interrupt, mut terminate) =
        (handler(SignalKind::interrupt())?, handler(SignalKind::terminate())?);
    let (mut done, mut failures, mut until) = (0, 0, None);
    let mut ear = Ear { intake: Intake::new(STATES), told: BTreeSet::new() };
    let all = order.messages().len();
    while !(done == all && order.is_over()) {
        let before = done;
        let ended = tokio::select! {
            ended = attempt(operator, order, &mut ear, &mut done, &mut until, patience, &mut tell) => ended,
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        };
        match ended {
            Ok(()) => return Ok(()),
            Err(Err(filter)) => return Err(OrderError::Subscription(filter)),
            Err(Ok(why)) => {
                failures = if done > before { 0 } else { failures + 1 };
                if failures == RETRIES {
                    return Err(OrderError::Connection(done, all, why));
                }
                sleep(RETRY).await;
            }
        }
    }
    Ok(())
}

fn filters(order: &Order) -> Vec<String> {
    let filter = |device: &str| format!("{ROOT}/{device}/{}", order.channel().as_str());
    let one: Vec<String> =
        order.devices().take(FILTERS_MAX + 1).map(|(device, _)| filter(device.as_str())).collect();
    if one.len() > FILTERS_MAX { vec![filter("+")] } else { one }
}

/// The error is why the connection failed, or the filter that was refused.
async fn attempt(
    operator: &Operator,
    order: &mut Order,
    ear: &mut Ear,
    done: &mut usize,
    until: &mut Option<Instant>,
    patience: Duration,
    tell: &mut impl FnMut(&Order, &Told<'_>),
) -> Result<(), Result<String, String>> {
    let filters = filters(order);
    let (client, mut events) = operator.connect(operator.options(true));
    client.try_subscribe_many(wanted(&filters)).map_err(|_| Ok("the MQTT client stopped".to_owned()))?;
    let (mut sent, mut listening) = (*done, false);
    let all = order.messages().len();
    while !(*done == all && order.is_over()) {
        while listening && sent < all && sent - *done < IN_FLIGHT {
            let Some(message) = order.messages().get(sent) else { break };
            let payload = message.payload.clone();
            if client.try_publish(&message.topic, QoS::AtLeastOnce, message.retained, payload).is_err() {
                // Its queue is full: it is emptied below.
                break;
            }
            sent += 1;
        }
        let end = async {
            match *until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            event = events.poll() => event.map_err(|error| Ok(reason(&error)))?,
            () = end => break,
        };
        match event {
            Event::Incoming(Packet::SubAck(ack)) => {
                if let Some(filter) = refused(&ack, &filters) {
                    return Err(Err(filter));
                }
                listening = true;
            }
            // They come in the order of the messages (MQTT 3.1.1, section 4.6).
            Event::Incoming(Packet::PubAck(_)) => {
                *done += 1;
                tell(order, &Told::Sent(*done));
                if *done == all {
                    *until = Some(Instant::now() + patience);
                }
            }
            Event::Incoming(Packet::Publish(answer)) => {
                ear.hear(order, &answer, tell);
            }
            _ => {}
        }
    }
    leave(&client, &mut events).await;
    Ok(())
}
