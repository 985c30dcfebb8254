//! A device in service on the factory's line: what a bench says to it.

use super::factory::room;
use super::field::Field;
use super::service::about;
use device::provisioning::{Document, InService};
use device::{Event, Platform, Slots};
use protocol::KeyId;
use protocol::provisioning::{Fault, FromDevice, MESSAGE_BYTES_MAX, PART_BYTES_MAX, ToDevice};

pub struct Bench {
    line: InService<Box<Document>>,
    /// What time it is here.
    pub now_s: u64,
}

impl Bench {
    pub fn new(now_s: u64) -> Self {
        Self { line: InService::new(about(), room()), now_s }
    }

    /// A message and the device's answer to it.
    pub fn say<P: Platform + Slots, R>(
        &mut self,
        field: &mut Field<P>,
        message: &ToDevice<'_>,
        judge: impl FnOnce(FromDevice<'_>) -> R,
    ) -> R {
        let mut bytes = [0; MESSAGE_BYTES_MAX];
        let len = message.encode(&mut bytes).unwrap();
        self.raw(field, &bytes[..len], judge)
    }

    pub fn raw<P: Platform + Slots, R>(
        &mut self,
        field: &mut Field<P>,
        message: &[u8],
        judge: impl FnOnce(FromDevice<'_>) -> R,
    ) -> R {
        let mut answer = [0; MESSAGE_BYTES_MAX];
        let now = field.uptime();
        let len = self.line.message(field.device(), now, message, &mut answer);
        let judged = judge(FromDevice::decode(&answer[..len]).expect("an answer"));
        field.tell(Event::Tick);
        judged
    }

    /// The request for a certificate; an identity that has one already is `Ok(Err(..))`.
    pub fn renew<P: Platform + Slots>(
        &mut self,
        field: &mut Field<P>,
    ) -> Result<Result<Vec<u8>, KeyId>, Fault> {
        let now_s = self.now_s;
        self.say(field, &ToDevice::Renew { now_s }, |answer| match answer {
            FromDevice::Renewal { request } => Ok(Ok(request.to_vec())),
            FromDevice::Provisioned { identity } => Ok(Err(identity)),
            FromDevice::Refused { why } => Err(why),
            other => panic!("{other:?}"),
        })
    }

    pub fn part<P: Platform + Slots>(
        &mut self,
        field: &mut Field<P>,
        at: usize,
        bytes: &[u8],
    ) -> Result<u32, Fault> {
        self.say(field, &ToDevice::Part { offset: at as u32, bytes }, |answer| match answer {
            FromDevice::Taken { len } => Ok(len),
            FromDevice::Refused { why } => Err(why),
            other => panic!("{other:?}"),
        })
    }

    pub fn commit<P: Platform + Slots>(&mut self, field: &mut Field<P>, len: usize) -> Result<KeyId, Fault> {
        self.say(field, &ToDevice::Commit { len: len as u32 }, |answer| match answer {
            FromDevice::Provisioned { identity } => Ok(identity),
            FromDevice::Refused { why } => Err(why),
            other => panic!("{other:?}"),
        })
    }

    /// Sends a document in parts and commits.
    pub fn deliver<P: Platform + Slots>(
        &mut self,
        field: &mut Field<P>,
        document: &[u8],
    ) -> Result<KeyId, Fault> {
        for (number, bytes) in document.chunks(PART_BYTES_MAX).enumerate() {
            self.part(field, number * PART_BYTES_MAX, bytes)?;
        }
        self.commit(field, document.len())
    }
}
