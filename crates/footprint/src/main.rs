//! A program that has the whole device in it and nothing else, to be linked and measured. `black_box` stands for every
//! input, so that nothing is optimised away; without the feature `device` it is the reference.
#![no_std]
#![no_main]

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(feature = "device")]
mod board {
    use core::hint::black_box;
    use device::telemetry::Ring;
    use device::{
        BootInfo, Command, Device, Entropy, EntropyError, Event, Key, KeyValue, Policy, StorageError, Uptime,
    };
    use protocol::{EpochMillis, Failure, Measurement, ResetCause, SensorFault};
    use static_cell::{ConstStaticCell, StaticCell};

    struct Board;

    impl KeyValue for Board {
        fn read<'b>(&mut self, key: Key, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, StorageError> {
            black_box(key.name());
            Ok(black_box(Some(buffer)).map(|buffer| &*buffer))
        }
        fn write(&mut self, key: Key, value: &[u8]) -> Result<(), StorageError> {
            black_box((key.number(), value));
            black_box(Ok(()))
        }
        fn remove(&mut self, key: Key) -> Result<(), StorageError> {
            black_box(key);
            black_box(Ok(()))
        }
    }

    impl Entropy for Board {
        fn fill(&mut self, buffer: &mut [u8]) -> Result<(), EntropyError> {
            black_box(buffer);
            black_box(Ok(()))
        }
    }

    pub fn run() {
        static RING: ConstStaticCell<Ring> = ConstStaticCell::new(Ring::new());
        static DEVICE: StaticCell<Device<Board, &'static mut Ring>> = StaticCell::new();
        let info = BootInfo {
            firmware: black_box(protocol::Name::default()),
            board: black_box(protocol::Name::default()),
            reset: black_box(ResetCause::PowerOn),
            build: black_box(EpochMillis(0)),
            policy: black_box(Policy::default()),
        };
        let device = match Device::start_with(RING.take(), Board, info, black_box(Uptime(0))) {
            Ok(device) => DEVICE.init(device),
            Err(error) => {
                black_box(error);
                return;
            }
        };
        let mut bytes = black_box([0u8; 256]);
        loop {
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
                _ => Event::Shutdown,
            };
            device.handle(black_box(Uptime(1)), event);
            while let Some(command) = device.poll_output(black_box(Uptime(1))) {
                if let Command::Log(note) = &command {
                    let mut line = Line::default();
                    let _cut = core::fmt::write(&mut line, format_args!("{note}"));
                    black_box(line);
                }
                black_box(command);
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
}

/// Where the linker starts.
// SAFETY: the name is this program's only exported symbol, and nothing else is linked with it.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text.start")]
pub extern "C" fn start() -> ! {
    #[cfg(feature = "device")]
    board::run();
    loop {
        core::hint::black_box(());
    }
}
