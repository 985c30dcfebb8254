//! The factory's line: frames in, frames out, around `device::provisioning`. Owns the loop of a blank device and the buffers,
//! never the order of the messages nor what is believed. R-PROVISION, R-INITIAL-SECRET.

use crate::keys::{self, KeyForm, Owner};
use crate::serial::{Serial, SerialError};
use crate::settings::Platform;
use crate::{Device, clock, ffi, info, reboot};
use core::fmt::{self, Write};
use device::Uptime;
use device::provisioning::{About, Document, Factory, InService, Locked};
use heapless::String;
use protocol::provisioning::MESSAGE_BYTES_MAX;
use protocol::provisioning::frame::{FRAME_BYTES_MAX, FrameReader, encode_frame};
use protocol::signed::PROVISION_DOCUMENT_BYTES_MAX;
use protocol::{EpochMillis, Name, NameError};
use static_cell::ConstStaticCell;
use zeroize::Zeroize;

/// How long a blank device waits before it looks at the line again, in milliseconds: at 115200 baud 58 bytes come in it.
const LOOK_MS: u32 = 5;

/// Bytes that are taken from the line at a time.
const CHUNK_BYTES: usize = 64;

/// Longest number of a chip that is reported, in bytes: two digits each in a [`Name`].
const CHIP_ID_BYTES_MAX: usize = 16;

/// Where the document is put together. Beside the stack, which would have to be larger by it.
static DOCUMENT: ConstStaticCell<Document> = ConstStaticCell::new([0; PROVISION_DOCUMENT_BYTES_MAX]);

/// Why there is no way to the factory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactoryError {
    /// No key says who may provision.
    NoKey,
    /// What should say it is no key.
    Key(KeyForm),
    /// There is no line.
    Serial(SerialError),
    /// The firmware's version or the board's name is none.
    Name(NameError),
    /// It was begun before in this boot.
    Begun,
}

impl fmt::Display for FactoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey => f.write_str(
                "the firmware knows no factory: build it with CONFIG_SENSOR_FACTORY_KEY_FILE (on native_sim: --factory-key)",
            ),
            Self::Key(error) => error.fmt(f),
            Self::Serial(error) => error.fmt(f),
            Self::Name(error) => write!(f, "the firmware's version or its board: {error}"),
            Self::Begun => f.write_str("the factory state has begun already: restart"),
        }
    }
}

/// What this device says of itself.
pub fn about(firmware: Name, board: Name, build: EpochMillis) -> Result<About, FactoryError> {
    Ok(About {
        firmware,
        board,
        serial: chip_id().map_err(FactoryError::Name)?,
        build,
        factory: keys::read(Owner::Factory).map_err(FactoryError::Key)?.ok_or(FactoryError::NoKey)?,
        injection: cfg!(CONFIG_SENSOR_KEY_INJECTION),
    })
}

/// The loop of a blank device, until it is provisioned or a restart is wanted. `tick` is called each time around.
pub fn provision(platform: Platform, about: About, mut tick: impl FnMut()) -> Result<(), FactoryError> {
    let document = document()?;
    let mut line = Line::open().map_err(FactoryError::Serial)?;
    info!("the device is blank and waits for the factory with the key {}", about.factory.id());
    let mut factory = Factory::new(platform, about, document);
    while !factory.is_provisioned() && !reboot::wanted() {
        tick();
        line.serve(|message, answer| factory.message(message, answer));
        clock::sleep_ms(LOOK_MS);
    }
    while !line.is_idle() {
        tick();
        line.serve(|_, _| 0);
        clock::sleep_ms(LOOK_MS);
    }
    // What the driver still holds: two frames at 9600 baud take 1.7 s.
    if factory.is_provisioned() {
        info!("the device is provisioned and restarts");
        clock::sleep_ms(2000);
    }
    Ok(())
}

/// What a device that is not blank says on the line.
pub enum OnLine {
    /// It is in service.
    InService(InService<&'static mut Document>),
    /// It takes nothing from it any more.
    Locked(Locked),
}

/// Where a document is put together. Given once.
pub fn document() -> Result<&'static mut Document, FactoryError> {
    DOCUMENT.try_take().ok_or(FactoryError::Begun)
}

/// The line of a device that is not blank.
pub struct FactoryLine {
    line: Line,
    on: OnLine,
    until: Uptime,
}

impl FactoryLine {
    /// Opens the line until `until`.
    pub fn open(on: OnLine, until: Uptime) -> Result<Self, FactoryError> {
        Ok(Self { line: Line::open().map_err(FactoryError::Serial)?, on, until })
    }

    /// Answers what came; false once the time is over.
    pub fn serve(&mut self, device: Option<&mut Device>, now: Uptime) -> bool {
        match (&mut self.on, device) {
            (OnLine::InService(in_service), Some(device)) => {
                self.line.serve(|message, answer| in_service.message(device, now, message, answer));
            }
            (OnLine::Locked(locked), _) => self.line.serve(|message, answer| locked.message(message, answer)),
            // There is no device to answer for.
            (OnLine::InService(_), None) => {}
        }
        now < self.until
    }
}

/// The line with its frames.
struct Line {
    serial: Serial,
    frames: FrameReader<FRAME_BYTES_MAX>,
    frame: [u8; FRAME_BYTES_MAX],
    /// What of `frame` is to be sent.
    from: usize,
    to: usize,
}

impl Line {
    fn open() -> Result<Self, SerialError> {
        let serial = Serial::open()?;
        Ok(Self { serial, frames: FrameReader::new(), frame: [0; FRAME_BYTES_MAX], from: 0, to: 0 })
    }

    /// True where all answers are with the driver.
    fn is_idle(&self) -> bool {
        self.from == self.to
    }

    /// Sends what waits; then takes in what came and gives each whole message to `answer`, which writes its own and says
    /// how long it is. Never waits.
    fn serve(&mut self, mut answer: impl FnMut(&[u8], &mut [u8; MESSAGE_BYTES_MAX]) -> usize) {
        self.send();
        let mut chunk = [0; CHUNK_BYTES];
        while self.is_idle() {
            let len = self.serial.read(&mut chunk);
            if len == 0 {
                break;
            }
            // The factory waits for each answer: nothing of value stands behind a message in the same chunk.
            for byte in chunk.iter().take(len) {
                let Some(message) = self.frames.push(*byte) else { continue };
                let mut out = [0; MESSAGE_BYTES_MAX];
                let len = answer(message, &mut out);
                self.from = 0;
                self.to = out
                    .get(..len)
                    .filter(|answer| !answer.is_empty())
                    .and_then(|answer| encode_frame(answer, &mut self.frame))
                    .unwrap_or(0);
                // An injected key may have been in it.
                self.frames.wipe();
                self.serial.wipe();
                break;
            }
        }
        chunk.zeroize();
        self.send();
    }

    fn send(&mut self) {
        let rest = self.frame.get(self.from..self.to).unwrap_or_default();
        self.from += self.serial.write(rest);
    }
}

/// The number that the silicon's vendor gave this chip, in hex; empty where it has none.
fn chip_id() -> Result<Name, NameError> {
    let mut id = [0; CHIP_ID_BYTES_MAX];
    // SAFETY: the pointer and the length are those of one array, which outlives the call.
    let len = unsafe { ffi::shim_chip_id(id.as_mut_ptr(), id.len()) };
    let mut text = String::<{ 2 * CHIP_ID_BYTES_MAX }>::new();
    for byte in id.iter().take(len) {
        write!(text, "{byte:02x}").map_err(|_| NameError)?;
    }
    text.as_str().try_into()
}
