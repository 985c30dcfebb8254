//! The firmware: the device of `crates/device` over Zephyr's subsystems. Owns the loop that delivers what happened and
//! carries out what the device wants; takes no decision. One module per subsystem, each with a safe face and all its
//! `unsafe` inside.
#![no_std]
#![cfg_attr(
    CONFIG_SENSOR_SELF_TEST,
    allow(unreachable_code, unused_variables, reason = "the self-test stands in place of the device")
)]

mod audit;
mod clock;
mod credentials;
mod entropy;
mod factory;
mod fault;
mod ffi;
mod flash;
mod handover;
mod kconfig;
mod keys;
mod log;
mod mqtt;
mod net;
mod network;
mod reboot;
#[cfg(CONFIG_SENSOR_SELF_TEST)]
#[path = "../tests/vault/self_test.rs"]
mod self_test;
mod sensor;
mod serial;
mod settings;
mod slots;
mod sntp;
mod tls;
mod vault;
mod watchdog;

use core::ffi::CStr;
use core::fmt::{self, Write};
use core::mem;
use device::identity::IdentityError;
use device::provisioning::{self, About, Document, InService, Locked, Standing};
use device::telemetry::Ring;
use device::{BootInfo, Command, Event, Note, Pace, Policy, Product, StartError, Uptime};
use factory::{FactoryLine, OnLine};
use heapless::String;
use keys::Owner;
use network::Network;
use protocol::config::LogLevel;
use protocol::image::Version;
use protocol::{Name, NameError, Uuid};
use settings::{Platform, Settings};
use static_cell::{ConstStaticCell, StaticCell};
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

/// The device, or why there is none. Beside the stack as well.
static DEVICE: StaticCell<Result<Device, StartError>> = StaticCell::new();

/// Where Zephyr's main thread starts.
#[unsafe(no_mangle)]
extern "C" fn rust_main() {
    // First of all: whatever hangs from here on ends in a reset.
    let mut watchdog = Watchdog::start().inspect_err(|error| warning!("{error}")).ok();
    let info = match boot_info() {
        Ok(info) => info,
        Err(error) => {
            error!("the firmware cannot be what it was built as: {error}");
            return wait_for_restart(|| {
                if let Some(watchdog) = &mut watchdog {
                    watchdog.feed();
                }
                clock::sleep_ms(LOOK_MAX_MS as u32);
            });
        }
    };
    info!("sensor device {} on {}, started because {}", info.firmware, info.board, info.reset);
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
    let (Some(network), Some(ring)) = (Network::take(), RING.try_take()) else {
        return reboot::restart();
    };
    let mut platform = Platform(settings);
    let standing = provisioning::standing(&mut platform);
    // While nothing else is on the stack: to put the device together is the deepest that it goes.
    let device = matches!(standing, Ok(Standing::Provisioned)).then(|| make_device(ring, platform, &info));
    let standing = standing.map(|standing| (standing, device));
    live(platform, network, watchdog, &info, standing);
    reboot::restart();
}

/// What a device is, and the device where it is in service.
type Life = (Standing, Option<&'static mut Result<Device, StartError>>);

/// All of a start but its beginning. A function of its own, whose stack is not there while the device is made.
#[inline(never)]
fn live(
    platform: Platform,
    network: Network,
    watchdog: Option<Watchdog>,
    info: &BootInfo,
    life: Result<Life, IdentityError>,
) {
    let mut ports = Ports { platform, network, watchdog, factory_line: None, stopped: false };
    match life {
        Ok((Standing::Provisioned, Some(device))) => {
            net::start();
            ports.start(device, info);
        }
        Ok((Standing::Destroyed, _)) => {
            error!("{}", StartError::Destroyed);
            ports.open_factory_line(info, |about, _| OnLine::Locked(Locked::new(about, None)));
            ports.wait_for_restart();
        }
        Ok((Standing::Blank, _)) => ports.be_blank(info),
        // One in service is made in any case.
        Ok((Standing::Provisioned, None)) => {}
        Err(error) => {
            error!("the device's identity cannot be loaded: {error}");
            ports.wait_for_restart();
        }
    }
}

/// A device that cannot start can do nothing but wait until somebody restarts it; `tick` is called each time around. An
/// image on trial does not wait: after a restart the former one runs, which may be able to.
fn wait_for_restart(mut tick: impl FnMut()) {
    if slots::is_on_trial() {
        error!("this image is on trial and cannot start: the device goes back to the former one");
        return reboot::restart();
    }
    while !reboot::wanted() {
        tick();
    }
}

/// Makes the device where it stays. Called once. A function of its own, whose stack is free again afterwards.
#[inline(never)]
fn make_device(
    ring: &'static mut Ring,
    platform: Platform,
    info: &BootInfo,
) -> &'static mut Result<Device, StartError> {
    DEVICE.init_with(|| Device::start_with(ring, platform, info.clone(), clock::uptime()))
}

/// Everything around the device.
struct Ports {
    platform: Platform,
    network: Network,
    watchdog: Option<Watchdog>,
    /// Of a device that is not blank, for a while after the start.
    factory_line: Option<FactoryLine>,
    stopped: bool,
}

impl Ports {
    /// Runs the device, where there is one.
    fn start(&mut self, device: &mut Result<Device, StartError>, info: &BootInfo) {
        match device {
            Ok(device) => {
                self.open_factory_line(info, |about, document| {
                    OnLine::InService(InService::new(about, document))
                });
                self.run(device);
            }
            Err(error) => {
                error!("{error}");
                if matches!(error, StartError::Configuration(_) | StartError::Identity(_)) {
                    self.wait_for_restart();
                }
            }
        }
    }

    /// Waits for the factory, until the device is provisioned.
    #[inline(never)]
    fn be_blank(&mut self, info: &BootInfo) {
        let platform = self.platform;
        let done = factory::about(info.firmware.clone(), info.board.clone(), info.build)
            .and_then(|about| factory::provision(platform, about, || self.feed()));
        if let Err(error) = done {
            error!("{error}");
            self.wait_for_restart();
        }
    }

    /// Lets the factory ask who the device is, for a while, and give a new certificate to one whose own has ended. Nothing of
    /// the device's work hangs on it.
    fn open_factory_line(
        &mut self,
        info: &BootInfo,
        life: impl FnOnce(About, &'static mut Document) -> OnLine,
    ) {
        let until = clock::uptime().after(FACTORY_LINE_MS);
        let line = factory::about(info.firmware.clone(), info.board.clone(), info.build)
            .and_then(|about| FactoryLine::open(life(about, factory::document()?), until));
        self.factory_line = line.inspect_err(|error| warning!("{error}")).ok();
    }

    /// The loop, until the device has stopped. What it needs of the stack is not there while the device is made.
    #[inline(never)]
    fn run(&mut self, device: &mut Device) {
        info!(
            "{}, boot {}, configuration {}",
            device.configuration().id,
            device.boot(),
            device.configuration().number
        );
        if let Err(error) = self.network.start() {
            error!("the network's thread does not start ({error}): see ZVFS_EVENTFD_MAX");
            return self.wait_for_restart();
        }
        let mut hung = false;
        // A turn takes in one event and does one thing that the device wants. It waits for nothing but the device's own
        // flash and sensor, until there is nothing to do.
        while !self.stopped {
            self.feed();
            self.serve_factory_line(Some(device));
            if reboot::wanted() {
                device.handle(clock::uptime(), Event::Shutdown);
            }
            if self.network.is_hung() && !mem::replace(&mut hung, true) {
                error!("the network's thread hangs: the device restarts");
                device.handle(clock::uptime(), Event::Shutdown);
            }
            let heard = self.network.hear(|at, event| device.handle(at, event));
            device.link_is_full(self.network.is_full());
            if let Some(command) = device.poll_output(clock::uptime()) {
                if let Some(event) = self.carry_out(command) {
                    device.handle(clock::uptime(), event);
                }
            } else if !heard {
                self.wait_until(device.next_deadline(clock::uptime()));
                device.handle(clock::uptime(), Event::Tick);
            }
        }
        if hung {
            return reboot::restart_hung();
        }
        self.network.settle();
    }

    fn wait_for_restart(&mut self) {
        wait_for_restart(|| {
            self.feed();
            self.serve_factory_line(None);
            self.wait_until(clock::uptime().after(WAIT_MAX_MS));
        });
    }

    fn serve_factory_line(&mut self, device: Option<&mut Device>) {
        if self.factory_line.as_mut().is_some_and(|line| !line.serve(device, clock::uptime())) {
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
        let millis = deadline.since(now).min(longest) as u32;
        if millis > 0 {
            self.network.wait(millis);
        }
    }

    /// Does what the device wants; the event is what came of it at once.
    fn carry_out(&mut self, command: Command<'_>) -> Option<Event<'static>> {
        match command {
            Command::QueryTime { server, packet } => {
                self.network.query_time(server, packet);
                None
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
                // The device's own limit is longer than what the attempt may take: shim.c holds it to that.
                timeout_ms: _,
            } => self
                .network
                .connect(&mut self.platform, (host, port), client_id, keep_alive_s, credentials, password)
                .err()
                .map(Event::Disconnected),
            Command::Subscribe(topics) => {
                self.network.subscribe(&topics);
                None
            }
            Command::Fetch(topic) => {
                self.network.fetch(topic);
                None
            }
            Command::Release(topic) => {
                self.network.release(topic);
                None
            }
            Command::Publish { token, topic, payload, retain } => {
                self.network.publish(token, topic, payload, retain);
                None
            }
            Command::Disconnect => {
                self.network.disconnect();
                None
            }
            Command::Sample => Some(Event::Reading(sensor::measure())),
            Command::Log(note) => {
                note_down(note);
                None
            }
            Command::LogTime(trouble) => {
                warning!("{trouble}");
                None
            }
            Command::LogReason(reason) => {
                warning!("{reason}");
                None
            }
            // The restart that follows is the same: after an update the bootloader finds what is marked.
            Command::Stopped | Command::Restart => {
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
}

fn note_down(note: Note) {
    match note.level() {
        LogLevel::Error => error!("{note}"),
        LogLevel::Warning => warning!("{note}"),
        LogLevel::Info => info!("{note}"),
    }
}

/// Why the firmware cannot say what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BuildError {
    /// Its version or its board is no name.
    Name(NameError),
    /// The vendor's or the class's id is no UUID.
    Product,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(error) => write!(f, "its version or its board: {error}"),
            Self::Product => f.write_str("the build gave it no id of its vendor or its class"),
        }
    }
}

/// What is known about this start; the names are the build's, and one that is no name is a mistake of the build.
fn boot_info() -> Result<BootInfo, BuildError> {
    Ok(BootInfo {
        firmware: version().map_err(BuildError::Name)?,
        board: kconfig::CONFIG_BOARD.try_into().map_err(BuildError::Name)?,
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
        product: product()?,
        pace: Pace {
            block_interval_ms: kconfig::CONFIG_SENSOR_BLOCK_INTERVAL_MS as u32,
            block_timeout_ms: kconfig::CONFIG_SENSOR_BLOCK_TIMEOUT_MS as u32,
            trial_ms: kconfig::CONFIG_SENSOR_TRIAL_MS as u32,
            trial_deadline_ms: kconfig::CONFIG_SENSOR_TRIAL_DEADLINE_MS as u32,
            configuration_ms: kconfig::CONFIG_SENSOR_CONFIGURATION_TRIAL_MS as u32,
        },
    })
}

/// The version that the bootloader has compared; the build's own where there is none.
fn version() -> Result<Name, NameError> {
    match slots::version() {
        Some(version) => {
            let mut text = String::<{ Version::TEXT_BYTES_MAX }>::new();
            write!(text, "{version}").map_err(|_| NameError)?;
            text.as_str().try_into()
        }
        None => CStr::from_bytes_until_nul(ffi::APP_VERSION_STRING)
            .unwrap_or_default()
            .to_str()
            .unwrap_or_default()
            .try_into(),
    }
}

fn product() -> Result<Product, BuildError> {
    // SAFETY: both take nothing and give a string that ends with NUL and never changes.
    let (vendor, class) =
        unsafe { (CStr::from_ptr(ffi::shim_vendor_id()), CStr::from_ptr(ffi::shim_class_id())) };
    let uuid = |text: &CStr| text.to_str().ok().and_then(Uuid::decode).ok_or(BuildError::Product);
    let image_key = keys::read(Owner::Image).unwrap_or_else(|error| {
        error!("{error}: this device takes no updates");
        None
    });
    Ok(Product { vendor: uuid(vendor)?, class: uuid(class)?, image_key })
}
