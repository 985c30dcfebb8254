//! docs/operations.md as a person follows it: the commands of a section in their order, for a broker of a test. Owns no words of its
//! own, so that the document and its tests cannot part.

const OPERATIONS: &str = include_str!("../../../docs/operations.md");

/// The broker in the document.
const BROKER: &str = "broker.example";

/// The words behind `sensorctl` of every command in the section with this heading, in their order, for the broker on `port`.
/// Lines that begin with `$` show what was printed and are left out.
pub fn commands(heading: &str, port: u16) -> Vec<String> {
    let begin = format!("\n## {heading}\n");
    let section = OPERATIONS.split(&begin).nth(1).and_then(|rest| rest.split("\n## ").next());
    let section = section.unwrap_or_else(|| panic!("docs/operations.md has no section {heading:?}"));
    let mut lines = section.lines();
    let mut commands = Vec::new();
    while let Some(line) = lines.next() {
        let Some(first) = line.strip_prefix("    sensorctl ") else { continue };
        let mut words = first.to_owned();
        while let Some(part) = words.strip_suffix('\\') {
            words = format!("{part}{}", lines.next().expect("a line behind a stroke").trim());
        }
        // What stands behind a sharp is for people.
        let words = words.split(" #").next().unwrap_or_default().trim();
        commands.push(
            words
                .replace(&format!("--host {BROKER}"), &format!("--host localhost --port {port}"))
                .replace(BROKER, &format!("localhost:{port}")),
        );
    }
    commands
}

/// The one command of the section that begins with these words.
pub fn command(heading: &str, begin: &str, port: u16) -> String {
    let mut found = commands(heading, port);
    found.retain(|words| words.starts_with(begin));
    let [command] = found.as_slice() else {
        panic!("{heading}: {begin:?} stands there {} times", found.len())
    };
    command.clone()
}
