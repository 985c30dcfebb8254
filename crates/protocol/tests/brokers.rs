//! The rules for every broker in `brokers/` are the table's, no more and no less.

use protocol::rights::{ID, RIGHTS, Rights, is_retained};
use std::collections::{BTreeMap, BTreeSet};

const README: &str = include_str!("../../../brokers/README.md");
const MOSQUITTO: &str = include_str!("../../../brokers/mosquitto/acl");

/// What may be written, and what may be read.
type Both = [BTreeSet<String>; 2];

fn set(topics: impl IntoIterator<Item = impl ToString>) -> BTreeSet<String> {
    topics.into_iter().map(|topic| topic.to_string()).collect()
}

fn table() -> BTreeMap<String, Both> {
    RIGHTS.iter().map(|rights| (rights.client.to_owned(), [set(rights.write), set(rights.read)])).collect()
}

#[test]
fn mosquitto_has_the_rules_of_the_table() {
    let mut found: BTreeMap<String, Both> = BTreeMap::new();
    let mut client = None;
    for line in MOSQUITTO.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let (name, access, topic) = match words[..] {
            ["user", name] => {
                client = Some(name);
                found.entry(name.to_owned()).or_default();
                continue;
            }
            ["topic", access, topic] => (client.expect("a user before its topics"), access, topic.to_owned()),
            ["pattern", access, topic] => (ID, access, topic.replace("%u", ID)),
            _ => panic!("{line}"),
        };
        let rights = found.entry(name.to_owned()).or_default();
        for (place, words) in [["write", "readwrite"], ["read", "readwrite"]].into_iter().enumerate() {
            if words.contains(&access) {
                assert!(rights[place].insert(topic.clone()), "twice: {line}");
            }
        }
        assert!(["read", "write", "readwrite"].contains(&access), "{line}");
    }
    assert_eq!(found, table());
}

/// What stands between quotation marks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').skip(1).step_by(2)
}

#[test]
fn emqx_has_the_rules_of_the_table() {
    let rules = README.split("`etc/acl.conf`").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let mut found: BTreeMap<String, Both> = BTreeMap::new();
    let mut closed = BTreeSet::new();
    let mut rules = rules.split("    {").skip(1).map(|rule| format!("{{{}", rule.trim())).peekable();
    while let Some(rule) = rules.next() {
        if rules.peek().is_none() {
            assert_eq!(rule, "{deny, all}.", "whatever is not allowed is denied");
            break;
        }
        let (client, topics) = if rule.starts_with("{allow, all, ") {
            (ID, rule.as_str())
        } else {
            let mut parts = rule.splitn(3, '"');
            let head = parts.next().unwrap();
            let client = parts.next().unwrap();
            if head == "{deny, {username, " {
                assert!(rule.ends_with("\"}, all, [\"#\"]}."), "{rule}");
                closed.insert(client.to_owned());
                continue;
            }
            assert_eq!(head, "{allow, {username, ");
            (client, parts.next().unwrap())
        };
        // The first rule that matches decides: what is denied already is not allowed.
        assert!(!closed.contains(client), "{rule}");
        let place = usize::from(rule.contains(" subscribe, ["));
        assert!(place == 1 || rule.contains(" publish, ["), "{rule}");
        let topics = quoted(topics).map(|topic| topic.replace("${username}", ID));
        found.entry(client.to_owned()).or_default()[place].extend(topics);
    }
    assert_eq!(found, table());
    let programs: BTreeSet<String> = table().into_keys().filter(|client| client != ID).collect();
    assert_eq!(closed, programs, "the rules for devices are for nobody else");
}

#[test]
fn aws_iot_core_has_the_rules_of_the_table_for_a_device_and_the_operator() {
    let aws = README.split("## AWS IoT Core").nth(1).unwrap();
    let policies: Vec<&str> = aws.split("    {\n      \"Version\"").skip(1).collect();
    let [device, operator] = policies[..] else { panic!("two policies") };
    for (rights, policy) in RIGHTS.iter().zip([device, operator]) {
        let policy = policy.split("\n    }\n").next().unwrap();
        let policy = format!("{{\"Version\"{policy}}}").replace("${iot:Connection.Thing.ThingName}", ID);
        let policy: serde_json::Value = serde_json::from_str(&policy).unwrap();
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for statement in policy["Statement"].as_array().unwrap() {
            assert_eq!(statement["Effect"], "Allow");
            let many = |value: &serde_json::Value| match value {
                serde_json::Value::Array(all) => {
                    all.iter().map(|one| one.as_str().unwrap().to_owned()).collect()
                }
                one => vec![one.as_str().unwrap().to_owned()],
            };
            for action in many(&statement["Action"]) {
                let resources = many(&statement["Resource"]);
                let resources = resources
                    .iter()
                    .map(|arn| arn.strip_prefix("arn:aws:iot:REGION:ACCOUNT:").unwrap().to_owned());
                found.entry(action).or_default().extend(resources);
            }
        }
        // `*` stands for any characters.
        let wild = |kind: &str, filters: &[&str]| {
            set(filters.iter().map(|filter| format!("{kind}/{}", filter.replace(['+', '#'], "*"))))
        };
        let retained: Vec<&str> = rights.write.iter().copied().filter(|topic| is_retained(topic)).collect();
        let expected = [
            ("iot:Connect", set([format!("client/{}", rights.client)])),
            ("iot:Publish", wild("topic", rights.write)),
            ("iot:RetainPublish", wild("topic", &retained)),
            ("iot:Subscribe", wild("topicfilter", rights.read)),
            ("iot:Receive", wild("topic", rights.read)),
        ];
        let expected: BTreeMap<String, BTreeSet<String>> =
            expected.into_iter().map(|(action, resources)| (action.to_owned(), resources)).collect();
        assert_eq!(found, expected, "{}", rights.client);
    }
}

#[test]
fn the_table_for_people_has_a_row_for_every_client() {
    for Rights { client, write, read } in RIGHTS {
        let list = |topics: &[&str], write: bool| {
            // Clearing is retained, whatever the topic.
            let word = |topic: &&str| {
                let retained = write && (is_retained(topic) || client == "operator.revoke");
                format!("`{topic}`{}", if retained { " (retained)" } else { "" })
            };
            let all: Vec<String> = topics.iter().map(word).collect();
            if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
        };
        let begin = if client == ID { "| a device, `ID` ".to_owned() } else { format!("| `{client}`") };
        let end = format!(" | {} | {} |", list(write, true), list(read, false));
        let rows = README.lines().filter(|line| line.starts_with(&begin) && line.ends_with(&end));
        assert_eq!(rows.count(), 1, "brokers/README.md must have this row once: {begin} …{end}");
    }
}
