//! The firmware: the device of `crates/device` over Zephyr's subsystems. Owns the loop that delivers what happened and
//! carries out what the device wants; takes no decision. One module per subsystem, each with a safe face and all its
//! `unsafe` inside.
#![no_std]
#![cfg_attr(
    CONFIG_SENSOR_SELF_TEST,
    allow(unreachable_code, unused_variables, reason = "the self-test stands in place of the device")
)]

mod clock;
mod credentials;
mod entropy;
mod factory;
mod ffi;
mod kconfig;
mod log;
mod mqtt;
mod net;
mod reboot;
#[cfg(CONFIG_SENSOR_SELF_TEST)]
#[path = "../tests/vault/self_test.rs"]
mod self_test;
mod sensor;
mod serial;
mod settings;
mod sntp;
mod tls;
mod vault;
mod watchdog;

use core::ffi::CStr;
use credentials::Credentials;
use device::provisioning::{self, Locked, Standing};
use device::telemetry::Ring;
use device::{BootInfo, Command, Event, Note, Password, Policy, StartError, Uptime};
use factory::{FactoryError, LockedLine};
use mqtt::{Destination, Mqtt};
use protocol::{Failure, KeyId, NameError};
use settings::{Platform, Settings};
use sntp::Exchange;
use static_cell::ConstStaticCell;
use watchdog::Watchdog;
// For its panic handler.
use zephyr as _;

/// Longest wait of the loop in milliseconds: the watchdog is fed four times as often as it needs.
const WAIT_MAX_MS: u64 = (watchdog::TIMEOUT_MS / 4) as u64;

/// A development build looks this often whether the shell wants a restart, and every build whether the factory asks, in
/// milliseconds.
const LOOK_MAX_MS: u64 = 200;

/// How long a device with an identity answers the factory after a start, in milliseconds.
const FACTORY_LINE_MS: u64 = kconfig::CONFIG_SENSOR_FACTORY_LINE_S as u64 * 1000;

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
    let settings = match Settings::open() {
        Ok(settings) => settings,
        Err(error) => {
            error!("settings cannot be opened: {error}");
            return reboot::restart();
        }
    };
    #[cfg(CONFIG_SENSOR_SELF_TEST)]
    return self_test::run(&mut Platform(settings));
    // Each can be taken once, and this is the only place.
    let (Some(mqtt), Some(credentials), Some(ring)) = (Mqtt::take(), Credentials::take(), RING.try_take())
    else {
        return;
    };
    let mut ports = Ports {
        platform: Platform(settings),
        credentials,
        mqtt,
        exchange: Exchange::new(),
        watchdog,
        factory_line: None,
        stopped: false,
    };
    match provisioning::standing(&mut ports.platform) {
        Ok(Standing::Blank) => ports.be_blank(info),
        Ok(Standing::Destroyed) => {
            error!("{}", StartError::Destroyed);
            ports.lock_factory_line(&info, None);
            ports.wait_for_restart();
        }
        Ok(Standing::Provisioned) => {
            net::start();
            ports.start(ring, info);
        }
        Err(error) => {
            error!("the device's identity cannot be loaded: {error}");
            ports.wait_for_restart();
        }
    }
    reboot::restart();
}

/// Everything around the device.
struct Ports {
    platform: Platform,
    credentials: Credentials,
    mqtt: Mqtt,
    exchange: Exchange,
    watchdog: Option<Watchdog>,
    /// Of a device that takes nothing from it any more, for a while after the start.
    factory_line: Option<LockedLine>,
    stopped: bool,
}

impl Ports {
    /// Starts the device and runs it.
    fn start(&mut self, ring: &'static mut Ring, info: BootInfo) {
        match Device::start_with(ring, self.platform, info.clone(), clock::uptime()) {
            Ok(device) => {
                self.lock_factory_line(&info, Some(device.identity()));
                self.run(device);
            }
            Err(error @ (StartError::Configuration(_) | StartError::Identity(_))) => {
                error!("{error}");
                self.wait_for_restart();
            }
            Err(error) => error!("{error}"),
        }
    }

    /// Waits for the factory, until the device is provisioned.
    fn be_blank(&mut self, info: BootInfo) {
        let platform = self.platform;
        let done = factory::about(info.firmware, info.board, info.build)
            .and_then(|about| factory::provision(platform, about, || self.feed()));
        if let Err(error) = done {
            error!("{error}");
            self.wait_for_restart();
        }
    }

    /// Lets the factory ask who the device is, for a while. Nothing of the device's work hangs on it.
    fn lock_factory_line(&mut self, info: &BootInfo, identity: Option<KeyId>) {
        let until = clock::uptime().after(FACTORY_LINE_MS);
        let line = factory::about(info.firmware.clone(), info.board.clone(), info.build).and_then(|about| {
            LockedLine::open(Locked::new(about, identity), until).map_err(FactoryError::Serial)
        });
        self.factory_line = line.inspect_err(|error| warning!("{error}")).ok();
    }

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
            self.serve_factory_line();
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

    /// A device that cannot start can do nothing but wait until somebody restarts it.
    fn wait_for_restart(&mut self) {
        while !reboot::wanted() {
            self.feed();
            self.serve_factory_line();
            self.wait_until(clock::uptime().after(WAIT_MAX_MS));
        }
    }

    fn serve_factory_line(&mut self) {
        if self.factory_line.as_mut().is_some_and(|line| !line.serve(clock::uptime())) {
            self.factory_line = None;
        }
    }

    fn feed(&mut self) {
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.feed();
        }
    }

    fn wait_until(&mut self, deadline: Uptime) {
        let now = clock::uptime();
        let looks_often = cfg!(CONFIG_SHELL) || self.factory_line.is_some();
        let longest = if looks_often { LOOK_MAX_MS } else { WAIT_MAX_MS };
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
            Command::Connect {
                host,
                port,
                client_id,
                keep_alive_s,
                credentials,
                password,
                timeout_ms: _,
            } => {
                let to = Destination { host, port, client_id, keep_alive_s };
                self.connect(&to, credentials, password).err().map(Event::Disconnected)
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
            Command::Retired(_) => {
                // The restart leads into the factory state, or to a device that says that it was destroyed.
                self.stopped = true;
                None
            }
        }
    }

    fn connect(
        &mut self,
        to: &Destination<'_>,
        chosen: device::identity::Credentials,
        password: Option<Password<'_>>,
    ) -> Result<(), Failure> {
        // Shown for the handshake only: the key is wiped when this goes.
        let shown =
            self.credentials.present(&mut self.platform, chosen, password.is_none()).map_err(|error| {
                error!("{error}");
                Failure::Credentials
            })?;
        // The device's own limit is longer than what TCP and TLS may take here: shim.c holds it to that.
        self.mqtt.connect(to, password, &shown)
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
            token_life_s: kconfig::CONFIG_SENSOR_TOKEN_LIFE_S as u32,
        },
    })
}
