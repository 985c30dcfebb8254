//! The firmware: the device of `crates/device` over Zephyr's subsystems. Owns the loop that delivers what happened and
//! carries out what the device wants; takes no decision. One module per subsystem, each with a safe face and all its
//! `unsafe` inside.
#![no_std]

mod clock;
mod credentials;
mod entropy;
mod ffi;
mod kconfig;
mod log;
mod mqtt;
mod net;
mod reboot;
mod sensor;
mod settings;
mod sntp;
mod tls;
mod watchdog;

use core::ffi::CStr;
use credentials::Credentials;
use device::telemetry::Ring;
use device::{BootInfo, Command, Event, Note, Policy, StartError, Uptime};
use mqtt::Mqtt;
use protocol::{Failure, NameError};
use settings::{Platform, Settings};
use sntp::Exchange;
use static_cell::ConstStaticCell;
use watchdog::Watchdog;
// For its panic handler.
use zephyr as _;

/// Longest wait of the loop in milliseconds: the watchdog is fed four times as often as it needs.
const WAIT_MAX_MS: u64 = (watchdog::TIMEOUT_MS / 4) as u64;

/// A development build looks this often whether the shell wants a restart, in milliseconds.
const SHELL_WAIT_MAX_MS: u64 = 200;

/// The samples that wait. Beside the stack, which would have to be larger by it.
static RING: ConstStaticCell<Ring> = ConstStaticCell::new(Ring::new());

/// The device on this platform.
type Device = device::Device<Platform, &'static mut Ring>;

/// Where Zephyr's main thread starts.
#[unsafe(no_mangle)]
extern "C" fn rust_main() {
    let info = match boot_info() {
        Ok(info) => info,
        Err(error) => return error!("the firmware's version or its board: {error}"),
    };
    info!("sensor device {} on {}, started because {}", info.firmware, info.board, info.reset);
    let watchdog = Watchdog::start().inspect_err(|error| warning!("{error}")).ok();
    net::start();
    let settings = match Settings::open() {
        Ok(settings) => settings,
        Err(error) => {
            error!("settings cannot be opened: {error}");
            return reboot::restart();
        }
    };
    // Each can be taken once, and this is the only place.
    let (Some(mqtt), Some(credentials), Some(ring)) = (Mqtt::take(), Credentials::take(), RING.try_take())
    else {
        return;
    };
    let mut ports =
        Ports { settings, credentials, mqtt, exchange: Exchange::new(), watchdog, stopped: false };
    match Device::start_with(ring, Platform(settings), info, clock::uptime()) {
        Ok(device) => ports.run(device),
        Err(StartError::Configuration(error)) => {
            error!("{error}");
            ports.wait_for_enrolment();
        }
        Err(error @ StartError::Storage(_)) => error!("{error}"),
    }
    reboot::restart();
}

/// Everything around the device.
struct Ports {
    settings: Settings,
    credentials: Credentials,
    mqtt: Mqtt,
    exchange: Exchange,
    watchdog: Option<Watchdog>,
    stopped: bool,
}

impl Ports {
    /// The loop, until the device has stopped.
    fn run(&mut self, mut device: Device) {
        info!(
            "{}, boot {}, configuration {}",
            device.configuration().id,
            device.boot(),
            device.configuration().number
        );
        while !self.stopped {
            self.feed();
            if reboot::wanted() {
                device.handle(clock::uptime(), Event::Shutdown);
            }
            while let Some(command) = device.poll_output(clock::uptime()) {
                if let Some(event) = self.carry_out(command) {
                    device.handle(clock::uptime(), event);
                }
            }
            self.wait_until(device.next_deadline(clock::uptime()));
            while let Some(event) = self.exchange.next_event() {
                device.handle(clock::uptime(), event);
            }
            while let Some(event) = self.mqtt.next_event() {
                device.handle(clock::uptime(), event);
            }
            device.handle(clock::uptime(), Event::Tick);
        }
    }

    /// A device without a configuration can do nothing but wait until somebody writes one and restarts it.
    fn wait_for_enrolment(&mut self) {
        while !reboot::wanted() {
            self.feed();
            self.wait_until(clock::uptime().after(WAIT_MAX_MS));
        }
    }

    fn feed(&mut self) {
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.feed();
        }
    }

    fn wait_until(&mut self, deadline: Uptime) {
        let now = clock::uptime();
        let longest = if cfg!(CONFIG_SHELL) { SHELL_WAIT_MAX_MS } else { WAIT_MAX_MS };
        let deadline = self.mqtt.next_deadline(now).map_or(deadline, |ping| deadline.min(ping));
        let millis = deadline.since(now).min(longest) as u32;
        if millis > 0 {
            net::wait([self.mqtt.socket(), self.exchange.socket()], millis);
        }
    }

    /// Does what the device wants; the event is what came of it at once.
    fn carry_out(&mut self, command: Command<'_>) -> Option<Event<'static>> {
        match command {
            Command::QueryTime { server, packet } => {
                // Looking up the name took its time; the datagram has left just now.
                Some(if self.exchange.ask(server, &packet) {
                    Event::TimeSent
                } else {
                    Event::TimeUnreachable
                })
            }
            Command::SetClock(time) => {
                if !clock::set(time) {
                    error!("Zephyr does not take the time {time}");
                }
                None
            }
            Command::Connect { host, port, client_id, keep_alive_s, timeout_ms: _ } => {
                self.connect(host, port, client_id, keep_alive_s).err().map(Event::Disconnected)
            }
            Command::Subscribe(topics) => {
                self.mqtt.subscribe(&topics);
                None
            }
            Command::Publish { token, topic, payload, retain } => {
                self.mqtt.publish(token, &topic, payload, retain);
                None
            }
            Command::Disconnect => {
                self.mqtt.disconnect();
                None
            }
            Command::Sample => Some(Event::Reading(sensor::measure())),
            Command::Log(note) => {
                note_down(note);
                None
            }
            Command::Stopped => {
                self.stopped = true;
                None
            }
        }
    }

    fn connect(&mut self, host: &str, port: u16, client_id: &str, keep_alive_s: u16) -> Result<(), Failure> {
        // Shown for the handshake only: the key is wiped when this goes.
        let _shown = self.credentials.present(self.settings).map_err(|error| {
            error!("{error}");
            Failure::Credentials
        })?;
        // The device's own limit is longer than what TCP and TLS may take here: shim.c holds it to that.
        self.mqtt.connect(host, port, client_id, keep_alive_s)
    }
}

fn note_down(note: Note) {
    match note {
        Note::Time(_) | Note::Connected { .. } => info!("{note}"),
        _ => warning!("{note}"),
    }
}

/// What is known about this start; the names are the build's, and one that is no name is a mistake of the build.
fn boot_info() -> Result<BootInfo, NameError> {
    let version = CStr::from_bytes_until_nul(ffi::APP_VERSION_STRING).unwrap_or_default();
    Ok(BootInfo {
        firmware: version.to_str().unwrap_or_default().try_into()?,
        board: kconfig::CONFIG_BOARD.try_into()?,
        reset: reboot::cause(),
        build: clock::build(),
        policy: Policy {
            backoff_floor_ms: kconfig::CONFIG_SENSOR_BACKOFF_FLOOR_MS as u32,
            backoff_cap_ms: kconfig::CONFIG_SENSOR_BACKOFF_CAP_MS as u32,
            healthy_ms: kconfig::CONFIG_SENSOR_HEALTHY_MS as u32,
            connect_timeout_ms: kconfig::CONFIG_SENSOR_CONNECT_TIMEOUT_MS as u32,
            answer_timeout_ms: kconfig::CONFIG_SENSOR_ANSWER_TIMEOUT_MS as u32,
        },
    })
}
