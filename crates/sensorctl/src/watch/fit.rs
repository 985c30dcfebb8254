//! What has room on a line: whole parts, the most worthy ones, and how many are left out. Owns no content.

use ratatui::text::{Line, Span};

/// Between two parts of a line.
const GAP: &str = "   ";

/// A part of a line that is shown as a whole or not at all.
#[derive(Clone, Debug)]
pub struct Item {
    /// The part with the least is left out first.
    worth: u8,
    span: Span<'static>,
}

impl Item {
    /// A part that is worth so much.
    pub const fn new(worth: u8, span: Span<'static>) -> Self {
        Self { worth, span }
    }
}

/// The width of a text in characters of a terminal.
pub fn width(text: &str) -> u16 {
    u16::try_from(Span::raw(text).width()).unwrap_or(u16::MAX)
}

/// The text, or as much of its beginning as has room before the sign that something is missing. For names and sentences: their
/// numbers are not read as such.
pub fn cut(text: &str, room: u16) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let mut short = String::new();
    for character in text.chars() {
        short.push(character);
        if width(&short) >= room {
            short.pop();
            break;
        }
    }
    if room > 0 {
        short.push('…');
    }
    short
}

/// The parts that have room in their order, and behind them how many have none.
pub fn line(mut items: Vec<Item>, room: u16) -> Line<'static> {
    let all = items.len();
    loop {
        let hidden = all - items.len();
        let note = (hidden > 0).then(|| Span::raw(format!("+{hidden}")));
        let mut spans = Vec::new();
        for span in items.iter().map(|item| item.span.clone()).chain(note) {
            if !spans.is_empty() {
                spans.push(Span::raw(GAP));
            }
            spans.push(span);
        }
        let line = Line::from(spans);
        if line.width() <= usize::from(room) {
            return line;
        }
        if let [last] = items.as_mut_slice() {
            let note = if hidden > 0 { format!("{GAP}+{hidden}") } else { String::new() };
            last.span.content = cut(&last.span.content, room.saturating_sub(width(&note))).into();
            return Line::from(vec![last.span.clone(), Span::raw(note)]);
        }
        let least = items.iter().enumerate().min_by_key(|(_, item)| item.worth).map(|(place, _)| place);
        match least {
            Some(place) => drop(items.remove(place)),
            None => return Line::default(),
        }
    }
}

/// Which columns of these widths and worths have room with a blank between each two, and how wide they are. The one that is
/// worth most is always there, and alone as wide as there is room.
pub fn columns(wanted: &[(u16, u8)], room: u16) -> Vec<(usize, u16)> {
    let mut shown: Vec<(usize, u16, u8)> =
        wanted.iter().enumerate().map(|(place, (width, worth))| (place, *width, *worth)).collect();
    let needed = |shown: &[(usize, u16, u8)]| {
        let widths: u32 = shown.iter().map(|(_, width, _)| u32::from(*width)).sum();
        widths + shown.len().saturating_sub(1) as u32
    };
    while shown.len() > 1 && needed(&shown) > u32::from(room) {
        if let Some(least) = shown.iter().enumerate().min_by_key(|(_, column)| column.2).map(|(at, _)| at) {
            shown.remove(least);
        }
    }
    if let [(_, width, _)] = shown.as_mut_slice() {
        *width = (*width).min(room);
    }
    shown.into_iter().map(|(place, width, _)| (place, width)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(worths: &[(u8, &'static str)], room: u16) -> String {
        line(worths.iter().map(|(worth, text)| Item::new(*worth, Span::raw(*text))).collect(), room)
            .to_string()
    }

    #[test]
    fn what_is_worth_least_is_left_out_as_a_whole_and_counted() {
        let items = [(2, "one 1"), (9, "two 22"), (1, "three 333")];
        for (room, expected) in [
            (26, "one 1   two 22   three 333"),
            (25, "one 1   two 22   +1"),
            (19, "one 1   two 22   +1"),
            (18, "two 22   +2"),
            (11, "two 22   +2"),
        ] {
            assert_eq!(text(&items, room), expected, "{room}");
        }
        assert_eq!(text(&items[1..2], 6), "two 22");
        assert_eq!(text(&items[1..2], 5), "two …");
        assert_eq!(cut("dev-1", 0), "");
    }

    #[test]
    fn columns_are_left_out_as_a_whole_until_the_rest_fits() {
        let wanted = [(5, 9), (4, 1), (3, 2)];
        for (room, expected) in [
            (14, vec![(0, 5), (1, 4), (2, 3)]),
            (13, vec![(0, 5), (2, 3)]),
            (9, vec![(0, 5), (2, 3)]),
            (8, vec![(0, 5)]),
            (3, vec![(0, 3)]),
        ] {
            assert_eq!(columns(&wanted, room), expected, "{room}");
        }
    }
}
