//! QEMU's debugger: the few packets of GDB's remote protocol that stop a board at a function and read what it was called
//! with.

use crate::BoardError;
use crate::qemu::{Board, Event};
use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Sender;
use std::time::Instant;

/// Registers as a function is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// The first four arguments.
    pub r: [u32; 4],
    /// Where execution stands.
    pub pc: u32,
}

/// Bytes that are read in one packet; QEMU's packets have 4096 characters.
const READ_BYTES: u32 = 1024;

impl Board {
    /// Lets it run. It has a [debugger](crate::Setup::debugger).
    pub fn resume(&mut self) -> Result<(), BoardError> {
        self.send("c")
    }

    /// Stops it wherever it is.
    pub fn interrupt(&mut self) -> Result<(), BoardError> {
        self.write(&[3])?;
        self.stopped()
    }

    /// Executes one instruction. Afterwards QEMU has forgotten all code that it had translated, which it must where the
    /// flash file was changed behind its back.
    pub fn step(&mut self) -> Result<(), BoardError> {
        self.send("s")?;
        self.stopped()
    }

    /// Stops whenever `address` is reached.
    pub fn set_breakpoint(&mut self, address: u32) -> Result<(), BoardError> {
        self.ok(&format!("Z0,{address:x},2"))
    }

    /// Does not stop there any more.
    pub fn clear_breakpoint(&mut self, address: u32) -> Result<(), BoardError> {
        self.ok(&format!("z0,{address:x},2"))
    }

    /// Registers of a board that is stopped.
    pub fn registers(&mut self) -> Result<Registers, BoardError> {
        let text = self.ask("g")?;
        let bytes = unhex(&text)?;
        let word = |index: usize| {
            let bytes = bytes.get(index * 4..index * 4 + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_le_bytes).ok_or_else(|| unexpected(&text))
        };
        Ok(Registers { r: [word(0)?, word(1)?, word(2)?, word(3)?], pc: word(15)? })
    }

    /// Memory of a board that is stopped.
    pub fn read_memory(&mut self, address: u32, len: u32) -> Result<Vec<u8>, BoardError> {
        let mut bytes = Vec::with_capacity(len as usize);
        while (bytes.len() as u32) < len {
            let done = bytes.len() as u32;
            let part = READ_BYTES.min(len - done);
            bytes.extend(unhex(&self.ask(&format!("m{:x},{part:x}", address + done))?)?);
        }
        Ok(bytes)
    }

    /// Waits until it says that it has stopped.
    fn stopped(&mut self) -> Result<(), BoardError> {
        let packet = self.packet("the debugger's stop")?;
        if is_stop(&packet) { Ok(()) } else { Err(unexpected(&packet)) }
    }

    fn ok(&mut self, command: &str) -> Result<(), BoardError> {
        let answer = self.ask(command)?;
        if answer == b"OK" { Ok(()) } else { Err(unexpected(&answer)) }
    }

    fn ask(&mut self, command: &str) -> Result<Vec<u8>, BoardError> {
        self.send(command)?;
        self.packet(command)
    }

    fn packet(&mut self, what: &str) -> Result<Vec<u8>, BoardError> {
        let deadline = Instant::now() + crate::PATIENCE;
        loop {
            if let Some(packet) = self.packets.pop_front() {
                return Ok(packet);
            }
            let event = self.event(deadline, what)?;
            self.keep(event);
        }
    }

    /// Frames and sends a packet, behind the acknowledgement of whatever came before.
    fn send(&mut self, command: &str) -> Result<(), BoardError> {
        self.write(frame(command).as_bytes())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BoardError> {
        let Some(stream) = &mut self.debugger else {
            return Err(BoardError::Protocol(
                "debugger",
                "nothing: the board was started without one".into(),
            ));
        };
        stream.write_all(bytes).map_err(BoardError::file("QEMU's debugger"))
    }
}

/// Whether a packet says that the board has stopped.
pub(crate) fn is_stop(packet: &[u8]) -> bool {
    matches!(packet.first(), Some(b'T' | b'S'))
}

fn unexpected(packet: &[u8]) -> BoardError {
    BoardError::Protocol("debugger", String::from_utf8_lossy(packet).into_owned())
}

fn frame(command: &str) -> String {
    let sum = command.bytes().fold(0_u8, u8::wrapping_add);
    format!("${command}#{sum:02x}")
}

fn unhex(text: &[u8]) -> Result<Vec<u8>, BoardError> {
    let pair = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(text, 16).ok()
    };
    text.chunks(2).map(pair).collect::<Option<_>>().ok_or_else(|| unexpected(text))
}

/// Hands on each packet of the debugger and acknowledges it.
pub(crate) fn read_packets(stream: &UnixStream, send: Sender<Event>) -> Result<(), BoardError> {
    let clone = || stream.try_clone().map_err(BoardError::file("QEMU's debugger"));
    let (reader, mut writer) = (BufReader::new(clone()?), clone()?);
    std::thread::spawn(move || {
        let mut packets = Packets::default();
        for byte in reader.bytes().map_while(Result::ok) {
            if let Some(packet) = packets.take(byte)
                && (writer.write_all(b"+").is_err() || send.send(Event::Debugger(packet)).is_err())
            {
                return;
            }
        }
        // The console's reader tells that QEMU has ended.
    });
    Ok(())
}

/// Takes packets apart: `$`, text, `#`, two digits of a checksum. The socket loses nothing: the sum is not checked.
#[derive(Default)]
struct Packets {
    text: Option<Vec<u8>>,
    sum: u8,
}

impl Packets {
    fn take(&mut self, byte: u8) -> Option<Vec<u8>> {
        match (&mut self.text, self.sum, byte) {
            (_, 0, b'$') => self.text = Some(Vec::new()),
            (Some(_), 0, b'#') => self.sum = 1,
            (Some(text), 0, byte) => text.push(byte),
            (Some(_), 1, _) => self.sum = 2,
            (Some(_), _, _) => {
                self.sum = 0;
                return self.text.take();
            }
            // Acknowledgements.
            (None, _, _) => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_framed_as_the_protocol_wants_and_taken_apart_again() {
        assert_eq!(frame("g"), "$g#67");
        assert_eq!(frame("m0,4"), "$m0,4#fd");
        let mut packets = Packets::default();
        let stream = b"+$T05thread:01;#07+$OK#9a$#00";
        let taken: Vec<_> = stream.iter().filter_map(|byte| packets.take(*byte)).collect();
        assert_eq!(taken, [b"T05thread:01;".to_vec(), b"OK".to_vec(), Vec::new()]);
        assert!(is_stop(b"T05thread:01;") && !is_stop(b"OK"));
    }

    #[test]
    fn hexadecimal_text_is_read_and_an_error_code_is_not_taken_for_memory() {
        assert_eq!(unhex(b"00ff7a").unwrap(), [0, 0xff, 0x7a]);
        assert!(unhex(b"E2x").is_err());
    }
}
