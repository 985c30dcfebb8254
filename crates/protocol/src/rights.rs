//! Who may write and read which topics at a broker: the one table to which the rules for every broker in `brokers/` are held.
//! Owns words alone; a broker does the rest. R-MQTT-ISOLATION.

/// A client of the broker, by the common name of its certificate, and what it may do; nothing else. Topics are filters of MQTT
/// (3.1.1, section 4.7), with [`ID`] for the client's own name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// The name; [`ID`] for a device.
    pub client: &'static str,
    /// What it may write.
    pub write: &'static [&'static str],
    /// What it may read.
    pub read: &'static [&'static str],
}

/// Stands for a device's id.
pub const ID: &str = "ID";

/// Every client. The first row is every device's; the others are the operator's programs, each with a certificate of its own.
/// What a program publishes to be kept it may read too: it reads it back, as a forbidden message is acknowledged all the same.
pub const RIGHTS: [Rights; 10] = [
    Rights {
        client: ID,
        write: &[
            "device/ID/hello",
            "device/ID/state",
            "device/ID/telemetry",
            "device/ID/identity/state",
            "device/ID/identity/request",
            "device/ID/firmware/state",
            "device/ID/config/state",
            "device/ID/command/answer",
            "device/ID/log",
        ],
        read: &["device/ID/+/desired", "device/ID/command", "group/+/config/desired", "firmware/#"],
    },
    Rights {
        client: "operator",
        write: &["device/+/+/desired", "device/+/command", "group/+/config/desired", "firmware/#"],
        read: &["device/#", "group/+/config/desired", "firmware/#"],
    },
    Rights {
        client: "operator.renew",
        write: &["device/+/identity/desired"],
        read: &["device/+/identity/request"],
    },
    Rights {
        client: "operator.sign",
        write: &["device/+/+/desired", "device/+/command"],
        read: &["device/+/+/desired", "device/+/command"],
    },
    Rights {
        client: "operator.firmware",
        write: &["firmware/#"],
        read: &["firmware/#", "device/+/firmware/state"],
    },
    Rights {
        client: "operator.config",
        write: &["device/+/config/desired", "group/+/config/desired", "device/+/command"],
        read: &[
            "device/+/config/desired",
            "group/+/config/desired",
            "device/+/config/state",
            "device/+/state",
            "device/+/command/answer",
        ],
    },
    Rights {
        client: "operator.command",
        write: &["device/+/command"],
        read: &[
            "device/+/command",
            "device/+/command/answer",
            "device/+/config/state",
            "device/+/identity/state",
        ],
    },
    Rights { client: "operator.log", write: &["device/+/log/desired"], read: &["device/+/log"] },
    Rights {
        client: "operator.watch",
        write: &[],
        read: &["device/+/hello", "device/+/state", "device/+/telemetry"],
    },
    // It clears what is kept of a device that is gone, and nobody else may speak for one.
    Rights {
        client: "operator.revoke",
        write: &[
            "device/+/hello",
            "device/+/state",
            "device/+/telemetry",
            "device/+/identity/state",
            "device/+/identity/request",
            "device/+/firmware/state",
            "device/+/config/state",
            "device/+/command/answer",
            "device/+/log",
            "device/+/+/desired",
            "device/+/command",
        ],
        read: &["device/#"],
    },
];

/// Whether what is written to this topic is retained: all but what is said once.
pub fn is_retained(topic: &str) -> bool {
    !["hello", "telemetry", "identity/request", "log"].iter().any(|once| {
        topic
            .split_once('/')
            .and_then(|(_, rest)| rest.split_once('/'))
            .is_some_and(|(_, channel)| channel == *once)
    })
}

/// Whether a filter matches a topic (MQTT 3.1.1, section 4.7.1).
pub fn matches(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(level), Some(other)) if level == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Channel;
    use crate::topic::topic;

    fn may(filters: &[&str], topic: &str) -> bool {
        filters.iter().any(|filter| matches(filter, topic))
    }

    fn row(client: &str) -> &'static Rights {
        RIGHTS.iter().find(|rights| rights.client == client).unwrap()
    }

    #[test]
    fn a_device_writes_or_reads_each_of_its_channels_and_what_is_taken_back_is_all_of_them() {
        let id = ID.parse().unwrap();
        let device = row(ID);
        for channel in Channel::ALL {
            let topic = topic(&id, channel);
            let (writes, reads) = (may(device.write, &topic), may(device.read, &topic));
            assert!(writes != reads, "{topic}");
            assert_eq!(reads, may(row("operator").write, &topic), "{topic}: from the operator to the device");
            assert!(may(row("operator.revoke").write, &topic), "{topic}");
            assert!(may(row("operator.revoke").read, &topic), "{topic}");
            assert!(may(row("operator").read, &topic), "{topic}");
        }
        // No row names a topic that is none.
        for rights in RIGHTS {
            for filter in
                rights.write.iter().chain(rights.read).filter(|filter| filter.starts_with("device/"))
            {
                assert!(
                    Channel::ALL.iter().any(|channel| matches(filter, &topic(&id, *channel))),
                    "{filter}"
                );
            }
        }
    }

    #[test]
    fn only_a_device_speaks_for_it_and_only_who_clears_it_could() {
        let id = ID.parse().unwrap();
        for channel in Channel::ALL.into_iter().filter(|channel| may(row(ID).write, &topic(&id, *channel))) {
            let who = RIGHTS.iter().filter(|rights| may(rights.write, &topic(&id, channel)));
            assert!(who.map(|rights| rights.client).eq([ID, "operator.revoke"]));
        }
    }

    #[test]
    fn a_filter_matches_whole_levels() {
        for (filter, topic, whether) in [
            ("device/#", "device", true),
            ("device/#", "device/a/b", true),
            ("device/+/state", "device/a/state", true),
            ("device/+/state", "device/a/b/state", false),
            ("device/+/state", "device/a/state/b", false),
            ("device/+", "device", false),
            ("device/a", "device/ab", false),
            ("a/+/+/d", "a/b/c/d", true),
        ] {
            assert_eq!(matches(filter, topic), whether, "{filter} {topic}");
        }
    }
}
