//! Reads a configuration so that an error names the field. Owns the form of the document, not the bounds of its
//! content.

use super::{
    Authentication, Configuration, ConfigurationError, Draft, FieldFault, FieldName, KEEP_ALIVE, NUMBER,
    PORT, REPORT_PERIOD, SAMPLE_PERIOD, SNTP_PORT, TIME_SERVERS_MAX, UPDATE_DEADLINE, UPDATE_LENGTH,
    UPDATE_SPREAD, UPDATE_START,
};
use crate::endpoint::check_host;
use crate::{DeviceId, Endpoint, PROTOCOL_VERSION};
use core::fmt;
use heapless::Vec;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

/// The document as it was read: right in form, not yet in content.
pub(super) struct Raw<'a> {
    v: u32,
    number: u64,
    id: &'a str,
    host: &'a str,
    port: u64,
    keep_alive_s: u64,
    auth: &'a str,
    time_servers: Vec<&'a str, { TIME_SERVERS_MAX + 1 }>,
    sample_period_ms: u64,
    report_period_ms: u64,
    update_start_min: u64,
    update_length_min: u64,
    update_deadline_h: u64,
    update_spread_s: u64,
}

impl Raw<'_> {
    /// Checks the content.
    pub(super) fn check(self) -> Result<Configuration, ConfigurationError> {
        if self.v != u32::from(PROTOCOL_VERSION) {
            return Err(ConfigurationError::Version(self.v));
        }
        let mut time_servers = Vec::new();
        for text in &self.time_servers {
            let server = Endpoint::parse(text, SNTP_PORT, "time_servers")?;
            time_servers
                .push(server)
                .map_err(|_| ConfigurationError::TimeServers(self.time_servers.len()))?;
        }
        Draft {
            number: NUMBER.check(self.number)?,
            id: DeviceId::new(self.id).map_err(ConfigurationError::BadId)?,
            host: check_host(self.host, "host")?,
            port: PORT.check(self.port)?,
            keep_alive_s: KEEP_ALIVE.check(self.keep_alive_s)?,
            auth: Authentication::from_wire(self.auth).ok_or(ConfigurationError::BadAuthentication)?,
            time_servers,
            sample_period_ms: SAMPLE_PERIOD.check(self.sample_period_ms)?,
            report_period_ms: REPORT_PERIOD.check(self.report_period_ms)?,
            update_start_min: UPDATE_START.check(self.update_start_min)?,
            update_length_min: UPDATE_LENGTH.check(self.update_length_min)?,
            update_deadline_h: UPDATE_DEADLINE.check(self.update_deadline_h)?,
            update_spread_s: UPDATE_SPREAD.check(self.update_spread_s)?,
        }
        .check()
    }
}

/// Reads a [`Raw`]; what is wrong with a field goes into `fault`, because an error of `serde-json-core` cannot say it.
pub(super) struct RawVisitor<'f> {
    pub(super) fault: &'f mut Option<(FieldName, FieldFault)>,
}

impl RawVisitor<'_> {
    fn refuse<E: serde::de::Error>(&mut self, name: &str, fault: FieldFault) -> E {
        let mut short = FieldName::new();
        // It may be shown on a terminal: what would move the cursor is not taken over.
        for c in name.chars().map(|c| if c.is_control() { '?' } else { c }) {
            if short.push(c).is_err() {
                break;
            }
        }
        *self.fault = Some((short, fault));
        E::custom("field")
    }

    /// Reads one field's value into its place.
    fn field<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
        &mut self,
        map: &mut A,
        name: &str,
        place: &mut Option<T>,
    ) -> Result<(), A::Error> {
        let value = map.next_value().map_err(|_| self.refuse(name, FieldFault::WrongType))?;
        match place.replace(value) {
            None => Ok(()),
            Some(_) => Err(self.refuse(name, FieldFault::Twice)),
        }
    }

    fn present<T, E: serde::de::Error>(&mut self, name: &str, place: Option<T>) -> Result<T, E> {
        place.ok_or_else(|| self.refuse(name, FieldFault::Missing))
    }
}

impl<'de> Visitor<'de> for RawVisitor<'_> {
    type Value = Raw<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a configuration")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Raw<'de>, A::Error> {
        let (mut v, mut number, mut id, mut host, mut port) = (None, None, None, None, None);
        let (mut keep_alive_s, mut auth, mut time_servers, mut sample_period_ms, mut report_period_ms) =
            (None, None, None, None, None);
        let (mut update_start_min, mut update_length_min, mut update_deadline_h, mut update_spread_s) =
            (None, None, None, None);
        let mut last = None;
        loop {
            let name = match (map.next_key::<&str>(), last) {
                (Ok(Some(name)), _) => name,
                (Ok(None), _) => break,
                (Err(_), Some(last)) => return Err(self.refuse(last, FieldFault::BadEnd)),
                (Err(error), None) => return Err(error),
            };
            match name {
                "v" => self.field(&mut map, name, &mut v)?,
                "number" => self.field(&mut map, name, &mut number)?,
                "id" => self.field(&mut map, name, &mut id)?,
                "host" => self.field(&mut map, name, &mut host)?,
                "port" => self.field(&mut map, name, &mut port)?,
                "keep_alive_s" => self.field(&mut map, name, &mut keep_alive_s)?,
                "auth" => self.field(&mut map, name, &mut auth)?,
                "time_servers" => self.field(&mut map, name, &mut time_servers)?,
                "sample_period_ms" => self.field(&mut map, name, &mut sample_period_ms)?,
                "report_period_ms" => self.field(&mut map, name, &mut report_period_ms)?,
                "update_start_min" => self.field(&mut map, name, &mut update_start_min)?,
                "update_length_min" => self.field(&mut map, name, &mut update_length_min)?,
                "update_deadline_h" => self.field(&mut map, name, &mut update_deadline_h)?,
                "update_spread_s" => self.field(&mut map, name, &mut update_spread_s)?,
                other => return Err(self.refuse(other, FieldFault::Unknown)),
            }
            last = Some(name);
        }
        Ok(Raw {
            v: self.present("v", v)?,
            number: self.present("number", number)?,
            id: self.present("id", id)?,
            host: self.present("host", host)?,
            port: self.present("port", port)?,
            keep_alive_s: self.present("keep_alive_s", keep_alive_s)?,
            auth: self.present("auth", auth)?,
            time_servers: self.present("time_servers", time_servers)?,
            sample_period_ms: self.present("sample_period_ms", sample_period_ms)?,
            report_period_ms: self.present("report_period_ms", report_period_ms)?,
            update_start_min: self.present("update_start_min", update_start_min)?,
            update_length_min: self.present("update_length_min", update_length_min)?,
            update_deadline_h: self.present("update_deadline_h", update_deadline_h)?,
            update_spread_s: self.present("update_spread_s", update_spread_s)?,
        })
    }
}
