//! The network's thread: names, sockets, TLS, MQTT and the exchange with a time server. Everything that waits for the network
//! waits here, each with a bound of its own; the device's loop goes on meanwhile. Decides nothing. R-DATA-INTACT.

use super::{Asked, BEAT, BEGIN, CLOSED, DONE, DROPPED, Form, IDLE_MS, REQUESTED};
use crate::handover::{self, NetworkBell, Speaker, Word};
use crate::kconfig::CONFIG_SENSOR_ANSWER_TIMEOUT_MS;
use crate::mqtt::{Destination, Mqtt};
use crate::sntp::Exchange;
use crate::{clock, error, net};
use core::mem;
use core::sync::atomic::Ordering;
use device::Event;

/// How long all that is sent together may wait for the network, in milliseconds.
const SEND_MS: u64 = CONFIG_SENSOR_ANSWER_TIMEOUT_MS as u64;

/// Where the thread starts. It never ends.
pub(super) extern "C" fn run() {
    let (Some((speaker, bell)), Some(mqtt)) = (BEGIN.take(), Mqtt::take()) else {
        // The device's loop sees that there is no sign of life.
        return error!("the network's thread has nothing to work with");
    };
    let mut thread = Thread { speaker, bell: *bell, mqtt, exchange: Exchange::new(), link: 0 };
    loop {
        thread.turn();
    }
}

struct Thread {
    speaker: &'static mut Speaker,
    bell: NetworkBell,
    mqtt: Mqtt,
    exchange: Exchange,
    /// The connection that there is or that is being made; 0 for none.
    link: u32,
}

impl Thread {
    fn turn(&mut self) {
        self.begin();
        // Before the request: what was asked before the connection was given up goes out before it is closed.
        let dropped = DROPPED.load(Ordering::Acquire);
        if let Some(form) = REQUESTED.take() {
            self.carry_out(form);
            DONE.put(form);
            handover::ring_device();
        }
        if self.link != 0 && self.link <= dropped {
            self.mqtt.disconnect();
            self.link = 0;
        }
        if CLOSED.swap(dropped, Ordering::AcqRel) != dropped {
            handover::ring_device();
        }
        self.wait();
        self.begin();
        if let Some(event) = self.exchange.next_event() {
            self.speaker.say(Word { at: clock::uptime(), link: 0, event });
        }
        // One in a turn: who sends without end does not keep the device from being served.
        if let Some(event) = self.mqtt.next_event() {
            let link = self.link;
            if matches!(event, Event::Disconnected(_)) {
                self.link = 0;
            }
            self.speaker.say(Word { at: clock::uptime(), link, event });
        }
    }

    /// What comes next has its own time, and shows that the thread lives.
    fn begin(&mut self) {
        BEAT.fetch_add(1, Ordering::Relaxed);
        self.mqtt.begin_turn(clock::uptime().after(SEND_MS));
    }

    fn wait(&mut self) {
        let now = clock::uptime();
        let deadline =
            self.mqtt.next_deadline(now).map_or(now.after(IDLE_MS), |at| at.min(now.after(IDLE_MS)));
        let millis = deadline.since(now) as u32;
        if millis > 0 {
            net::wait([self.bell.descriptor(), self.mqtt.socket(), self.exchange.socket()], millis);
            self.bell.quiet();
        }
    }

    fn carry_out(&mut self, form: &mut Form) {
        let asked = mem::replace(&mut form.asked, Asked::Nothing);
        // What is asked of a connection that is gone is nobody's any more.
        let has_link = self.link != 0 && self.link == form.link;
        match asked {
            Asked::QueryTime { server, packet } => {
                let event = self.exchange.ask(&server, &packet);
                self.speaker.say(Word { at: clock::uptime(), link: 0, event });
            }
            Asked::Connect { host, port, client_id, keep_alive_s, token, shown } => {
                self.link = form.link;
                let to = Destination { host: &host, port, client_id: &client_id, keep_alive_s };
                let token = core::str::from_utf8(form.packet.payload()).ok().filter(|_| token);
                let connected = self.mqtt.connect(&to, token, &shown);
                form.packet.wipe();
                // The key has done its work.
                form.credentials = Some(shown.take_back());
                if let Err(failure) = connected {
                    let event = Event::Disconnected(failure);
                    self.speaker.say(Word { at: clock::uptime(), link: mem::take(&mut self.link), event });
                }
            }
            Asked::Subscribe if has_link => self.mqtt.subscribe(&form.topics),
            Asked::Fetch if has_link => form.topics.iter().for_each(|topic| self.mqtt.fetch(topic)),
            Asked::Release if has_link => form.topics.iter().for_each(|topic| self.mqtt.release(topic)),
            Asked::Publish { token, retain } if has_link => {
                if let Some(topic) = form.topics.first() {
                    self.mqtt.publish(token, topic, &mut form.packet, retain);
                }
            }
            Asked::Nothing | Asked::Subscribe | Asked::Fetch | Asked::Release | Asked::Publish { .. } => {}
        }
    }
}
