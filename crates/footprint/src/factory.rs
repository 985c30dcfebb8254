//! A blank device on its factory's line, and a provisioned one there.

use crate::board::Board;
use core::hint::black_box;
use device::provisioning::{About, Document, Factory, Standing, locked, standing};
use protocol::provisioning::MESSAGE_BYTES_MAX;
use protocol::provisioning::frame::{FRAME_BYTES_MAX, FrameReader, encode_frame};
use protocol::signed::PROVISION_DOCUMENT_BYTES_MAX;
use protocol::{EpochMillis, Name, PublicKey};
use static_cell::ConstStaticCell;

pub fn run() {
    static DOCUMENT: ConstStaticCell<Document> = ConstStaticCell::new([0; PROVISION_DOCUMENT_BYTES_MAX]);
    static READER: ConstStaticCell<FrameReader<FRAME_BYTES_MAX>> = ConstStaticCell::new(FrameReader::new());
    static ANSWER: ConstStaticCell<[u8; MESSAGE_BYTES_MAX]> = ConstStaticCell::new([0; MESSAGE_BYTES_MAX]);
    static FRAME: ConstStaticCell<[u8; FRAME_BYTES_MAX]> = ConstStaticCell::new([0; FRAME_BYTES_MAX]);
    let (reader, answer, frame) = (READER.take(), ANSWER.take(), FRAME.take());
    let Ok(factory) = PublicKey::new(&black_box([4; 65])) else { return };
    let about = About {
        firmware: black_box(Name::default()),
        board: black_box(Name::default()),
        serial: black_box(Name::default()),
        build: black_box(EpochMillis(0)),
        factory,
        injection: black_box(false),
    };
    match standing(&mut Board) {
        Ok(Standing::Blank) => {
            let mut factory = Factory::new(Board, about, DOCUMENT.take());
            while !factory.is_provisioned() {
                if let Some(message) = reader.push(black_box(0)) {
                    let len = factory.message(message, answer);
                    black_box(encode_frame(&answer[..len], frame));
                }
            }
        }
        Ok(Standing::Provisioned | Standing::Destroyed) => {
            let Ok(locked) = locked(&mut Board, about) else { return };
            while black_box(true) {
                if let Some(message) = reader.push(black_box(0)) {
                    let len = locked.message(message, answer);
                    black_box(encode_frame(&answer[..len], frame));
                }
            }
        }
        Err(error) => {
            black_box(error);
        }
    }
    black_box(frame);
}
