//! The whole device in service: identity, session, clock, telemetry, firmware updates.

use crate::board::Board;
use core::hint::black_box;
use device::telemetry::Ring;
use device::{BootInfo, Command, Device, Event, Pace, Policy, Product, Uptime};
use protocol::{EpochMillis, Failure, Measurement, PublicKey, ResetCause, SensorFault, Uuid};
use static_cell::{ConstStaticCell, StaticCell};

pub fn run() {
    static RING: ConstStaticCell<Ring> = ConstStaticCell::new(Ring::new());
    static DEVICE: StaticCell<Device<Board, &'static mut Ring>> = StaticCell::new();
    let info = BootInfo {
        firmware: black_box(protocol::Name::default()),
        board: black_box(protocol::Name::default()),
        reset: black_box(ResetCause::PowerOn),
        build: black_box(EpochMillis(0)),
        policy: black_box(Policy::default()),
        product: Product {
            vendor: black_box(Uuid([1; 16])),
            class: black_box(Uuid([2; 16])),
            image_key: PublicKey::new(&black_box([4; 65])).ok(),
        },
        pace: black_box(Pace::default()),
    };
    let device = match Device::start_with(RING.take(), Board, info, black_box(Uptime(0))) {
        Ok(device) => DEVICE.init(device),
        Err(error) => {
            black_box(error);
            return;
        }
    };
    let mut bytes = black_box([0u8; 256]);
    // A port reads chain and roots for each connection.
    let mut certificates = black_box([0u8; device::identity::ROOTS_BYTES_MAX]);
    while black_box(true) {
        let bytes = black_box(&mut bytes);
        let text = core::str::from_utf8(bytes).unwrap_or_default();
        let event = match black_box(0u8) {
            0 => Event::Tick,
            1 => Event::TimeAnswer(bytes),
            2 => Event::TimeUnreachable,
            3 => Event::Connected { handshake_ms: black_box(1) },
            4 => Event::Disconnected(black_box(Failure::Dns)),
            5 => Event::Subscribed { granted: black_box(true) },
            6 => Event::Acknowledged(black_box(1)),
            7 => Event::Alive,
            8 => Event::Message { topic: text, payload: bytes },
            9 => Event::Reading(Measurement::new(black_box(0), black_box(0), black_box(0))),
            10 => Event::Reading(Err(black_box(SensorFault::NoAnswer))),
            11 => Event::TimeSent,
            12 => Event::TimeServerUnknown,
            _ => Event::Shutdown,
        };
        device.handle(black_box(Uptime(1)), event);
        let mut credentials = None;
        while let Some(command) = device.poll_output(black_box(Uptime(1))) {
            match &command {
                Command::Log(note) => {
                    let mut line = Line::default();
                    let _cut = core::fmt::write(&mut line, format_args!("{note}"));
                    black_box(line);
                }
                Command::LogTime(trouble) => {
                    let mut line = Line::default();
                    let _cut = core::fmt::write(&mut line, format_args!("{trouble}"));
                    black_box(line);
                }
                Command::Connect { credentials: of, .. } => credentials = Some(*of),
                _ => {}
            }
            black_box(command);
        }
        if let Some(credentials) = credentials {
            let platform = device.platform();
            black_box(device::identity::chain(platform, credentials.slot, &mut certificates).is_ok());
            black_box(device::identity::roots(platform, credentials.roots, &mut certificates).is_ok());
            black_box(&certificates);
        }
        black_box(device.next_deadline(black_box(Uptime(1))));
    }
}

/// A line of a log, which every firmware writes its notes to.
#[derive(Default)]
struct Line(u32);

impl core::fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.0 = black_box(self.0.wrapping_add(text.len() as u32));
        Ok(())
    }
}
