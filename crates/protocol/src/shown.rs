//! Text from outside in a message of ours: what could move a cursor, hide, or turn the order of what stands beside it is written
//! as its number. Owns that one rule, for the device's notes and states and for every line of the tools.

use core::fmt::{self, Write};

/// True for what is shown as it is: the printable characters of ASCII, and the sign of a degree, which our own sentences have.
/// Whatever else there is (control characters, zero width, right to left, letters that look like others) has no place in a name
/// of ours.
pub const fn is_plain(c: char) -> bool {
    c.is_ascii_graphic() || matches!(c, ' ' | '\u{b0}')
}

/// A text that is shown with every other character as its number.
///
/// ```
/// use protocol::Shown;
/// assert_eq!(Shown("a\u{202e}b\n").to_string(), "a<U+202E>b<U+000A>");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown<'t>(pub &'t str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Escaped(f);
        out.write_str(self.0)
    }
}

/// Writes what is written to it, as [`Shown`] shows it.
pub(crate) struct Escaped<W>(pub(crate) W);

impl<W: Write> Write for Escaped<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if is_plain(c) {
                self.0.write_char(c)?;
            } else {
                write!(self.0, "<U+{:04X}>", u32::from(c))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    #[test]
    fn what_hides_or_turns_a_line_around_is_shown_as_its_number() {
        for (text, shown) in [
            ("sample_period_ms", "sample_period_ms"),
            ("a\u{200b}b", "a<U+200B>b"),
            ("\u{202e}txt", "<U+202E>txt"),
            ("\u{2066}\u{2069}", "<U+2066><U+2069>"),
            ("\u{feff}", "<U+FEFF>"),
            ("\u{1b}[2J", "<U+001B>[2J"),
            ("\u{85}\u{7f}", "<U+0085><U+007F>"),
            ("\u{e0041}", "<U+E0041>"),
            ("\u{430}", "<U+0430>"),
            ("", ""),
        ] {
            assert_eq!(Shown(text).to_string(), shown);
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_not_plain_is_ever_shown(text in ".{0,40}") {
            prop_assert!(Shown(&text).to_string().chars().all(is_plain));
        }
    }
}
