//! Configurations and changes for tests, made from the table of the schema: what each field may be, what it may not be and
//! what is said then, and documents from a seed, most of them right. For every test that asks two programs for their verdict:
//! `#[path = "../../protocol/tests/samples/configurations.rs"] mod configurations;`
#![allow(dead_code, reason = "each test uses a part of it")]

use protocol::config::{CONFIGURATION_BYTES_MAX, CONFIGURATION_VERSION, FIELDS, Field};

/// A field's name and its value as JSON.
pub type Member = (String, String);

/// Numbers that follow from a seed alone (`SplitMix64`).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'t, T>(&mut self, list: &'t [T]) -> &'t T {
        &list[self.below(list.len())]
    }
}

/// The value of a fresh configuration; a host and time servers for tests.
pub fn default(field: Field) -> String {
    match field {
        Field::Bound(bound) => bound.default.to_string(),
        Field::Text(text) => match text.field {
            "host" => "\"broker.example\"".into(),
            "time_servers" => r#"["time.example:123","10.0.0.1:1123"]"#.into(),
            _ => format!("\"{}\"", text.default),
        },
    }
}

/// Values that are accepted, the outermost ones among them.
pub fn good(field: Field) -> Vec<String> {
    let longest = format!("{}.{}", "a".repeat(63 - 2), "b2");
    let list = match field {
        Field::Bound(bound) => return [bound.min, bound.max, bound.default].map(|n| n.to_string()).into(),
        Field::Text(text) => match text.field {
            "host" => vec!["a", "10.0.0.1", "A-1.b--c.3", "xn--bcher-kva.example", longest.as_str()],
            "auth" => vec!["certificate", "token"],
            "log_level" => vec!["error", "warning", "info"],
            "time_servers" => {
                return [
                    r#"["a"]"#.into(),
                    r#"["a:1","a:65535","a","A:124"]"#.into(),
                    r#"[ "10.0.0.1:123" , "b" ]"#.into(),
                    r#"["a:00123"]"#.into(),
                    format!(r#"["{longest}:65535","{longest}:1","{longest}:12345","{longest}"]"#),
                ]
                .into();
            }
            other => panic!("{other} needs samples"),
        },
    };
    list.iter().map(|text| format!("\"{text}\"")).collect()
}

/// Values that are refused, each with the sentence that says why.
pub fn bad(field: Field) -> Vec<(String, String)> {
    let name = field.name();
    let mut list: Vec<(String, String)> = Vec::new();
    let mut add = |value: &str, text: String| list.push((value.into(), text));
    let wrong = |value: &str| (value.to_string(), format!("{name} has a value of the wrong type"));
    for value in ["null", "true", "false", "{}", "{\"a\":1}", "", "nul", "NaN", "+1", ".5", "--1", "-"] {
        let (value, text) = wrong(value);
        add(&value, text);
    }
    match field {
        Field::Bound(bound) => {
            let unit = if bound.unit.is_empty() { String::new() } else { format!(" {}", bound.unit) };
            let far = [bound.min - 1, bound.max + 1, i64::MIN, i64::MAX, i64::from(u32::MAX) + 1];
            for value in far.into_iter().chain((bound.min >= 0).then_some(-1)) {
                let (min, max) = (bound.min, bound.max);
                add(&value.to_string(), format!("{name} is {value}; it must be from {min} to {max}{unit}"));
            }
            for value in ["1.5", "1.0", "-0.5", "1e3", "2E2", "1e400", "99999999999999999999.5"] {
                add(value, format!("{name} must be a whole number, without a fraction or an exponent"));
            }
            for value in ["9223372036854775808", "-9223372036854775809", &"9".repeat(300)] {
                add(value, format!("{name} is a number with too many digits"));
            }
            for value in ["\"1\"", "\"\"", "[]", "[1]", "01", "-01", "1-1"] {
                let (value, text) = wrong(value);
                add(&value, text);
            }
            for rest in ["x", " 1", ":1", "}"] {
                let text = if rest == "}" {
                    "the configuration is no JSON object: JSON has non-whitespace trailing characters after the value.".into()
                } else {
                    format!("something other than ',' or '}}' follows the value of {name}")
                };
                add(&format!("{}{rest}", bound.default), text);
            }
        }
        Field::Text(_) => {
            for value in ["1", "-1", "1.5", "[1]", "[[]]"] {
                let (value, text) = wrong(value);
                add(&value, text);
            }
            bad_texts(name, &mut add);
        }
    }
    list
}

fn bad_texts(name: &str, add: &mut dyn FnMut(&str, String)) {
    const LABEL: &str = "has a part that is empty, too long, or starts or ends with a hyphen";
    const CHARACTER: &str = "has a character other than letters, digits, '-' and '.'";
    const PORT: &str = ": what follows the ':' must be a port from 1 to 65535";
    let x64 = "x".repeat(64);
    let hosts = [
        ("", "is empty"),
        ("a_b", CHARACTER),
        ("a b", CHARACTER),
        ("bücher.example", CHARACTER),
        ("\\u0061", CHARACTER),
        ("mqtt//a", CHARACTER),
        ("a..b", LABEL),
        (".a", LABEL),
        ("a.", LABEL),
        ("-a.b", LABEL),
        ("a-.b", LABEL),
        (x64.as_str(), LABEL),
        (&format!("{x64}x"), "is longer than 64 characters"),
    ];
    match name {
        "host" => {
            for (value, why) in hosts {
                add(&format!("\"{value}\""), format!("host {why}"));
            }
            add("\"a:1\"", format!("host {CHARACTER}"));
            add("[]", "host has a value of the wrong type".into());
            add("[\"a\"]", "host has a value of the wrong type".into());
        }
        "time_servers" => {
            for (value, why) in hosts {
                add(&format!("[\"{value}\"]"), format!("time_servers {why}"));
                add(&format!("[\"a\",\"{value}:1\"]"), format!("time_servers {why}"));
            }
            for port in ["0", "", "+5", "-1", "65536", "1:2", "a", "1.5", " 1", "1 ", "123x"] {
                add(&format!("[\"a:{port}\"]"), format!("time_servers{PORT}"));
            }
            for value in ["\"a\",\"A\"", "\"a\",\"b\",\"a:123\"", "\"a\",\"b\",\"c\",\"B\""] {
                add(&format!("[{value}]"), "time_servers has the same server twice".into());
            }
            for count in [0, 5, 6, 40] {
                let list: Vec<_> = (0..count).map(|n| format!("\"h{n}\"")).collect();
                let text = format!("time_servers has {count} entries; it must have from 1 to 4");
                add(&format!("[{}]", list.join(",")), text);
            }
            for value in ["\"a\"", "[null]", "[\"a\",1]", "[\"a\",]", "[\"a\" \"b\"]", "[\"a\",,\"b\"]"] {
                add(value, "time_servers has a value of the wrong type".into());
            }
            let empty = "the configuration is no JSON object: Expected this character to start a JSON value.";
            add("[,\"a\"]", empty.into());
        }
        "auth" | "log_level" => {
            let (allowed, capital) = match name {
                "auth" => ("\"certificate\" or \"token\"", "Token"),
                _ => ("\"error\", \"warning\" or \"info\"", "Info"),
            };
            for value in ["", "none", capital, " info", "token ", "\\u0074oken", "certificate,token"] {
                add(&format!("\"{value}\""), format!("{name} must be {allowed}"));
            }
            add("[]", format!("{name} has a value of the wrong type"));
        }
        other => panic!("{other} needs samples"),
    }
}

/// Names that people type instead of this one. None of them is another field's.
pub fn typing_errors(name: &str) -> Vec<String> {
    let chars: Vec<char> = name.chars().collect();
    let mut list = vec![
        format!("{name} "),
        format!(" {name}"),
        format!("{name}s"),
        name.to_uppercase(),
        name.replace('_', "-"),
        name.replace('_', ""),
    ];
    if let Some((first, rest)) = chars.split_first() {
        list.push(format!("\\u{:04x}{}", *first as u32, rest.iter().collect::<String>()));
    }
    for at in 0..chars.len() {
        let (before, after) = (&chars[..at], &chars[at + 1..]);
        let c = chars[at];
        list.push([before, after].concat().iter().collect());
        list.push([before, &[c, c], after].concat().iter().collect());
        if let Some((next, rest)) = after.split_first() {
            list.push([before, &[*next, c], rest].concat().iter().collect());
        }
    }
    let known = ["v", "number", "id", "group"];
    list.retain(|typed| !known.contains(&typed.as_str()) && FIELDS.iter().all(|field| field.name() != typed));
    list.sort();
    list.dedup();
    list
}

/// The document with these members.
pub fn object(members: &[Member]) -> String {
    let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

fn member(name: &str, value: impl std::fmt::Display) -> Member {
    (name.into(), format!("{value}"))
}

/// A whole configuration of version `v` with the defaults.
pub fn whole(v: u8) -> Vec<Member> {
    let head = [member("v", v), member("number", 1), member("id", "\"dev-1\"")];
    let fields = FIELDS.iter().filter(|field| field.since() <= v);
    head.into_iter().chain(fields.map(|field| member(field.name(), default(*field)))).collect()
}

/// A change that names nothing.
pub fn nothing(audience: &str) -> Vec<Member> {
    let (name, value) = audience.split_once(':').expect("a field and its value");
    vec![member("v", CONFIGURATION_VERSION), member("number", 7), member(name, value)]
}

/// `members` with the value of `name` replaced, or put at the end.
pub fn with(members: &[Member], name: &str, value: &str) -> Vec<Member> {
    let mut members = members.to_vec();
    match members.iter_mut().find(|(it, _)| it == name) {
        Some(member) => member.1 = value.into(),
        None => members.push((name.into(), value.into())),
    }
    members
}

/// `members` but for `name`.
pub fn without(members: &[Member], name: &str) -> Vec<Member> {
    members.iter().filter(|(it, _)| it != name).cloned().collect()
}

/// A value that is accepted, most often an ordinary one.
fn some_value(random: &mut Random, field: Field) -> String {
    match field {
        Field::Bound(bound) if random.one_in(2) => {
            let span = (bound.max - bound.min) as u64 + 1;
            (bound.min + (random.next() % span) as i64).to_string()
        }
        Field::Bound(_) if random.one_in(2) => default(field),
        _ => random.pick(&good(field)).clone(),
    }
}

/// A change for the device `id` or for `group`, with this number. The same for the same seed.
pub fn change(seed: u64, id: &str, group: &str, number: u32) -> Vec<u8> {
    let random = &mut Random(seed);
    let v = if random.one_in(8) { 1 } else { CONFIGURATION_VERSION };
    let audience = if random.one_in(2) { ("id", id) } else { ("group", group) };
    let mut members =
        vec![member("v", v), member("number", number), member(audience.0, format!("\"{}\"", audience.1))];
    for _ in 0..random.below(7) {
        let field = *random.pick(FIELDS);
        let is_there = members.iter().any(|(name, _)| name == field.name());
        if field.since() <= v && !is_there {
            members.push(member(field.name(), some_value(random, field)));
        }
    }
    spoil(random, members)
}

/// A whole configuration for the device `id`. The same for the same seed.
pub fn configuration(seed: u64, id: &str) -> Vec<u8> {
    let random = &mut Random(seed);
    let mut members = whole(1 + random.below(CONFIGURATION_VERSION.into()) as u8);
    members[2].1 = format!("\"{id}\"");
    for _ in 0..random.below(5) {
        let field = *random.pick(FIELDS);
        if let Some((_, value)) = members.iter_mut().find(|(name, _)| name == field.name()) {
            *value = some_value(random, field);
        }
    }
    spoil(random, members)
}

/// Leaves it as it is, or makes one or two mistakes in it; shuffles it and puts blanks into it now and then.
fn spoil(random: &mut Random, mut members: Vec<Member>) -> Vec<u8> {
    let mistakes = [0, 0, 0, 1, 1, 2][random.below(6)];
    for _ in 0..mistakes {
        mistake(random, &mut members);
    }
    if random.one_in(4) {
        for at in (1..members.len()).rev() {
            members.swap(at, random.below(at + 1));
        }
    }
    let mut bytes = object(&members).into_bytes();
    if random.one_in(4) {
        for _ in 0..random.below(9) {
            let ends: Vec<_> = (0..bytes.len()).filter(|at| b"{,:".contains(&bytes[*at])).collect();
            if let Some(at) = ends.get(random.below(ends.len().max(1))) {
                bytes.insert(at + 1, *random.pick(b" \t\r\n"));
            }
        }
    }
    if mistakes > 0 && random.one_in(3) {
        let at = random.below(bytes.len());
        match random.below(8) {
            0 => bytes.truncate(at),
            1 => bytes.extend_from_slice(random.pick::<&[u8]>(&[&b"x"[..], b"}", b",", b"{}", b"\0"])),
            2 => bytes[at] ^= 1 << random.below(8),
            3 => drop(bytes.remove(at)),
            4 => {
                let mark = *random.pick(&[&b"\xef\xbb\xbf"[..], b"\xff\xfe", b"\xfe\xff"]);
                bytes = [mark, &bytes].concat();
            }
            5 => bytes.extend_from_slice(
                random.pick(&["\u{200b}", " \u{202e}", "\u{feff}", "\n// why"]).as_bytes(),
            ),
            6 => bytes.extend(std::iter::repeat_n(b' ', CONFIGURATION_BYTES_MAX + random.below(300))),
            // One byte too long, or just not.
            _ => bytes.resize(CONFIGURATION_BYTES_MAX + random.below(2), b' '),
        }
    }
    bytes
}

fn mistake(random: &mut Random, members: &mut Vec<Member>) {
    let at = random.below(members.len());
    let field = *random.pick(FIELDS);
    match random.below(9) {
        0 => {
            let typed = typing_errors(&members[at].0);
            members[at].0.clone_from(random.pick(&typed));
        }
        1 => drop(members.remove(at)),
        2 => members.push(members[at].clone()),
        3 => members.push(member(field.name(), some_value(random, field))),
        4 => members.push(member(["id", "group"][random.below(2)], "\"other\"")),
        5 => {
            let names = [
                "password",
                "",
                "é",
                "\u{1b}[2J",
                "po\u{200b}rt",
                "\u{202e}trop",
                "\u{feff}port",
                "update_channel",
                "Port",
                &"long".repeat(60),
            ];
            let values = ["1", "null", "\"a\"", "[]"];
            members.push(member(names[random.below(names.len())], random.pick(&values)));
        }
        6 => {
            let values = ["0", "3", "-1", "2.0", "\"2\"", "257", "258", "null", "4294967298"];
            members[0].1 = (*random.pick(&values)).into();
        }
        7 => {
            let values = ["0", "-1", "4294967296", "1.5", "null", "\"\"", "\"a b\"", "\"operator\"", "[]"];
            members[1 + random.below(2)].1 = (*random.pick(&values)).into();
        }
        _ => {
            let (value, _) = random.pick(&bad(field)).clone();
            match members.iter_mut().find(|(name, _)| name == field.name()) {
                Some(member) => member.1 = value,
                None => members.push((field.name().into(), value)),
            }
        }
    }
}
