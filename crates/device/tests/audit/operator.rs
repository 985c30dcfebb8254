//! The operator's side of the log: proves every piece, puts them together, acknowledges what it has. Built on nothing of the
//! device.

use crate::world::field::{Field, id, one};
use crate::world::service::signed;
use device::{Platform, Slots};
use protocol::audit::{Entries, Event, FIRST, Hash, Record, is_sealed_by};
use protocol::document::{LogAcknowledgement, LogDelivery, Power};
use protocol::signed::Envelope;
use protocol::{Channel, PublicKey};

/// What came of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// So many of its records were new.
    New(usize),
    /// It begins behind what is there: something is missing before it.
    Early,
}

#[derive(Default)]
pub struct Operator {
    pub records: Vec<(Record, Hash)>,
    /// Where the records begin: 0 unless the first ones are lost.
    pub first: u32,
    /// Seals that were proven.
    pub seals: u32,
    /// Pieces that came.
    pub pieces: u32,
    /// How many of the messages of the field were looked at.
    pub seen: usize,
}

impl Operator {
    pub fn next(&self) -> u32 {
        self.first + self.records.len() as u32
    }

    pub fn hash(&self) -> Hash {
        self.records.last().map_or(FIRST, |(_, hash)| *hash)
    }

    pub fn events(&self) -> Vec<&Event> {
        self.records.iter().map(|(record, _)| &record.event).collect()
    }

    pub fn has(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.records.iter().any(|(record, _)| wanted(&record.event))
    }

    /// Proves a piece with one of the device's keys. Panics where it is forged.
    pub fn take(&mut self, payload: &[u8], keys: &[PublicKey]) -> Taken {
        self.pieces += 1;
        let envelope = Envelope::decode(payload).expect("an envelope");
        let key = keys.iter().find(|key| key.id() == envelope.signer()).expect("a key of the device");
        let delivery = envelope.verify::<LogDelivery<'_>>(key).expect("signed by the device").into_inner();
        assert_eq!(delivery.audience, one());
        if delivery.number > self.next() {
            return Taken::Early;
        }
        let (mut previous, mut due, mut new) = (delivery.previous, delivery.number, 0);
        if due > self.first {
            assert_eq!(
                previous,
                self.records[(due - self.first - 1) as usize].1,
                "another chain before {due}"
            );
        }
        for entry in Entries::new(delivery.entries) {
            let entry = entry.expect("an entry");
            entry.follows(&previous, due).expect("it follows");
            let record = entry.record.expect("a record with a name");
            if let Event::Seal { identity, .. } = &record.event {
                let signer = keys.iter().find(|key| key.id() == *identity).expect("a key of the device");
                assert!(is_sealed_by(&record, &previous, &id(), signer), "the seal {due}");
                self.seals += u32::from(due >= self.next());
            }
            if let Some((known, hash)) = self.records.get((due - self.first) as usize) {
                assert_eq!((known, hash), (&record, &entry.hash), "record {due} is another now");
            } else {
                self.records.push((record, entry.hash));
                new += 1;
            }
            (previous, due) = (entry.hash, due + 1);
        }
        Taken::New(new)
    }

    /// The pieces that the device has sent since the last call.
    pub fn sent<P: Platform + Slots>(&mut self, field: &Field<P>) -> Vec<Vec<u8>> {
        let from = core::mem::replace(&mut self.seen, field.published.len());
        let messages = field.published[from..].iter();
        messages.filter(|(channel, _)| *channel == Channel::Log).map(|(_, payload)| payload.clone()).collect()
    }

    /// Takes what was sent, in order.
    pub fn pump<P: Platform + Slots>(&mut self, field: &Field<P>) {
        let keys = field.service.registered.borrow().clone();
        for piece in self.sent(field) {
            assert_ne!(self.take(&piece, &keys), Taken::Early, "nothing was lost on the way");
        }
    }

    /// Says what it has.
    pub fn acknowledgement(&self) -> LogAcknowledgement {
        LogAcknowledgement { audience: one(), number: self.next() - 1, hash: self.hash() }
    }

    pub fn acknowledge<P: Platform + Slots>(&self, field: &mut Field<P>) {
        let document = signed(&self.acknowledgement(), Power::Configuration);
        field.retained.retain(|(channel, _)| *channel != Channel::LogDesired);
        field.retained.push((Channel::LogDesired, document.clone()));
        field.send(Channel::LogDesired, &document);
    }
}
