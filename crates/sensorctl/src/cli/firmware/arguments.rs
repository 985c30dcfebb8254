//! Arguments that several of these commands have.

use super::super::Failure;
use super::super::shared::{Broker, Trust};
use crate::documents::For;
use crate::firmware::product::Product;
use crate::operator::Operator;
use clap::Args;
use protocol::document::Audience;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Which devices.
#[derive(Debug, Args)]
pub(super) struct Names {
    /// Domain name of the vendor; its UUID is the vendor id
    #[arg(long, value_name = "DOMAIN", default_value = "sensor.example")]
    vendor_domain: String,
    /// Name of the product; with the board it gives the class id
    #[arg(long, value_name = "NAME", default_value = "secure-sensor")]
    product: String,
    /// Name of the board, as Zephyr has it; linux for the port to Linux
    #[arg(long, value_name = "NAME", default_value = "linux")]
    board: String,
}

impl Names {
    pub(super) fn product(&self) -> Result<Product, Failure> {
        Product::new(&self.vendor_domain, &self.product, &self.board).map_err(Failure::usage)
    }
}

/// The broker, and as whom.
#[derive(Debug, Args)]
pub(in crate::cli) struct Connect {
    #[command(flatten)]
    trust: Trust,
    /// Host name or IP address of the broker, as in its certificate
    #[arg(long, default_value = "localhost")]
    host: String,
    /// TCP port of the broker
    #[arg(long, default_value_t = 8883, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
}

impl Connect {
    pub(in crate::cli) fn operator(&self, name: &str) -> Result<Operator, Failure> {
        if self.trust.authorities().is_empty() {
            return Err(Failure::usage(
                "--ca is missing: the folder of the authority that the broker belongs to",
            ));
        }
        let broker = Broker { host: self.host.clone(), port: self.port };
        self.trust.operator(&broker, name).map_err(Failure::error)
    }

    pub(in crate::cli) fn broker(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// Whom a roll-out is for.
pub(super) fn audience(text: &str) -> Result<Audience, String> {
    match text.parse()? {
        For::All => Ok(Audience::All),
        For::Group(name) => Ok(Audience::Group(name)),
        For::Each => Err("a roll-out is for many: all or group:NAME".to_owned()),
    }
}

/// Seconds, or a number with s, m, h or d.
pub(in crate::cli) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3_600),
        Some((at, 'd')) => (&text[..at], 86_400),
        _ => (text, 1),
    };
    let number = number.parse::<u32>().ok().filter(|_| number.bytes().all(|digit| digit.is_ascii_digit()));
    let number = number.ok_or_else(|| format!("{text:?} is no duration: write 90, 90s, 10m, 24h or 7d"))?;
    Ok(Duration::from_secs(u64::from(number) * unit))
}

/// Seconds since 1970 of a date (its beginning in UTC) or of a date with time.
pub(in crate::cli) fn date(text: &str) -> Result<u64, String> {
    let time = OffsetDateTime::parse(&format!("{text}T00:00:00Z"), &Rfc3339);
    let time = time.or_else(|_| OffsetDateTime::parse(text, &Rfc3339)).ok();
    let seconds = time.and_then(|time| u64::try_from(time.unix_timestamp()).ok());
    seconds.ok_or_else(|| format!("{text:?} is no date: write 2027-01-31 or 2027-01-31T12:00:00Z"))
}

/// An address that can stand in a manifest.
pub(super) fn address(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    let has_scheme =
        text.split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
    if plain && has_scheme {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is no URI, such as https://host/path"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_dates_are_read_in_their_forms_alone() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        for text in ["", "m", "-1", "+1", "1w", "1.5h", "10 m", "99999999999", "1ä"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(date("2027-01-31"), Ok(1_801_353_600));
        assert_eq!(date("2027-01-31T12:00:00+02:00"), Ok(1_801_353_600 + 36_000));
        for text in ["", "31.1.2027", "2027-02-30", "1969-01-01", "tomorrow"] {
            assert!(date(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rollout_is_for_all_or_a_group() {
        assert_eq!(audience("all"), Ok(Audience::All));
        assert_eq!(audience("group:hall-7"), Ok(Audience::Group("hall-7".try_into().unwrap())));
        assert!(audience("device").is_err() && audience("x").is_err());
        assert!(address("https://a/b").is_ok() && address("a").is_err() && address("a: b").is_err());
    }
}
