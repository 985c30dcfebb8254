//! A screen as a file: plain text, or SVG for a document. Owns the drawing of cells, nothing of their content.
//!
//! Fonts differ in braille patterns and box lines, if they have them at all: both are drawn as shapes.

use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Position;
use ratatui::style::{Color, Modifier};
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

/// Width and height of a character in pixels, and how far its baseline lies below its top.
const WIDTH: f64 = 8.4;
const HEIGHT: f64 = 17.0;
const BASELINE: f64 = 13.0;
const BACKGROUND: &str = "#0d1117";
const FOREGROUND: &str = "#d0d7de";

/// The file's name ends in neither `.svg` nor `.txt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormError(PathBuf);

impl fmt::Display for FormError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} must end in .svg or .txt: that tells the form of the picture", self.0.display())
    }
}

impl std::error::Error for FormError {}

/// The form of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Scalable vector graphics.
    Svg,
    /// Text in UTF-8.
    Text,
}

impl Form {
    /// The form that a file's name tells.
    pub fn of(path: &Path) -> Result<Self, FormError> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("svg") => Ok(Self::Svg),
            Some("txt") => Ok(Self::Text),
            _ => Err(FormError(path.to_owned())),
        }
    }

    /// The screen in this form.
    pub fn render(self, buffer: &Buffer) -> String {
        match self {
            Self::Svg => svg(buffer),
            Self::Text => text(buffer),
        }
    }
}

fn cell(buffer: &Buffer, x: u16, y: u16) -> Option<&Cell> {
    buffer.cell(Position::new(buffer.area.x + x, buffer.area.y + y))
}

/// Each line without the blanks at its end.
pub fn text(buffer: &Buffer) -> String {
    let mut text = String::new();
    for y in 0..buffer.area.height {
        let line: String =
            (0..buffer.area.width).filter_map(|x| cell(buffer, x, y)).map(Cell::symbol).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// How a cell looks.
#[derive(Clone, Copy, PartialEq)]
struct Look {
    ink: &'static str,
    ground: &'static str,
    bold: bool,
}

fn look(cell: &Cell) -> Look {
    let (ink, ground) = (colour(cell.fg, FOREGROUND), colour(cell.bg, BACKGROUND));
    let (ink, ground) =
        if cell.modifier.contains(Modifier::REVERSED) { (ground, ink) } else { (ink, ground) };
    Look { ink, ground, bold: cell.modifier.contains(Modifier::BOLD) }
}

fn colour(colour: Color, default: &'static str) -> &'static str {
    match colour {
        Color::Red | Color::LightRed => "#ff7b72",
        Color::Green | Color::LightGreen => "#7ee787",
        Color::Yellow | Color::LightYellow => "#e3b341",
        Color::Blue | Color::LightBlue => "#79c0ff",
        Color::DarkGray | Color::Gray => "#8b949e",
        _ => default,
    }
}

fn svg(buffer: &Buffer) -> String {
    let (width, height) = (f64::from(buffer.area.width) * WIDTH, f64::from(buffer.area.height) * HEIGHT);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-size=\"14\" \
         font-family=\"ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"{BACKGROUND}\"/>\n"
    );
    for y in 0..buffer.area.height {
        let mut x = 0;
        while x < buffer.area.width {
            x = run(&mut svg, buffer, x, y);
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Draws the cells from `x` on that look the same; gives the one after them.
fn run(svg: &mut String, buffer: &Buffer, x: u16, y: u16) -> u16 {
    let Some(first) = cell(buffer, x, y) else { return x + 1 };
    let style = look(first);
    let same = |x: &u16| cell(buffer, *x, y).is_some_and(|cell| look(cell) == style);
    let end = (x..buffer.area.width).take_while(same).count() as u16 + x;
    let (left, top) = (f64::from(x) * WIDTH, f64::from(y) * HEIGHT);
    if style.ground != BACKGROUND {
        let width = f64::from(end - x) * WIDTH;
        push(
            svg,
            format_args!(
                "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{HEIGHT}\" fill=\"{}\"/>\n",
                style.ground
            ),
        );
    }
    let (mut word, mut shapes) = ((0, String::new()), Shapes::default());
    for x in x..=end {
        let symbol = if x < end { cell(buffer, x, y).map_or(" ", Cell::symbol) } else { " " };
        let character = symbol.chars().next().unwrap_or(' ');
        if character == ' ' || shapes.add(character, (x, y)) {
            write_word(svg, &mut word, y, style);
        } else {
            if word.1.is_empty() {
                word.0 = x;
            }
            word.1.push_str(symbol);
        }
    }
    for (path, width) in [(shapes.lines, 1.0), (shapes.dots, 2.8)] {
        if !path.is_empty() {
            let style =
                format_args!("stroke=\"{}\" stroke-width=\"{width}\" stroke-linecap=\"round\"", style.ink);
            push(svg, format_args!("<path d=\"{path}\" {style}/>\n"));
        }
    }
    end
}

/// Writes a word with the width that its cells have, whatever font there is.
fn write_word(svg: &mut String, word: &mut (u16, String), y: u16, style: Look) {
    let (x, text) = std::mem::take(word);
    if text.is_empty() {
        return;
    }
    let (left, base) = (f64::from(x) * WIDTH, f64::from(y) * HEIGHT + BASELINE);
    let length = text.chars().count() as f64 * WIDTH;
    let bold = if style.bold { " font-weight=\"bold\"" } else { "" };
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    push(
        svg,
        format_args!(
            "<text x=\"{left:.1}\" y=\"{base:.1}\" textLength=\"{length:.1}\" fill=\"{}\"{bold}>{escaped}</text>\n",
            style.ink
        ),
    );
}

/// What is drawn instead of written: paths of strokes, and of dots as strokes without length.
#[derive(Default)]
struct Shapes {
    lines: String,
    dots: String,
}

impl Shapes {
    /// Adds a braille pattern or a box line; false for any other character.
    fn add(&mut self, character: char, (x, y): (u16, u16)) -> bool {
        let (left, top) = (f64::from(x) * WIDTH, f64::from(y) * HEIGHT);
        if let Some(pattern) = u32::from(character).checked_sub(0x2800).filter(|pattern| *pattern < 256) {
            // Unicode's order of the dots: three of the left column, three of the right, then the two at the bottom.
            const DOTS: [(f64, f64); 8] = [
                (0.0, 0.0),
                (0.0, 1.0),
                (0.0, 2.0),
                (1.0, 0.0),
                (1.0, 1.0),
                (1.0, 2.0),
                (0.0, 3.0),
                (1.0, 3.0),
            ];
            for (_, (column, row)) in DOTS.iter().enumerate().filter(|(bit, _)| pattern >> bit & 1 == 1) {
                let (x, y) = (left + WIDTH * (0.25 + 0.5 * column), top + HEIGHT * (0.125 + 0.25 * row));
                push(&mut self.dots, format_args!("M{x:.1} {y:.1}h0"));
            }
            return true;
        }
        // To the left, right, top and bottom edge from the middle.
        let edges = match character {
            '─' => [true, true, false, false],
            '│' => [false, false, true, true],
            '┌' => [false, true, false, true],
            '┐' => [true, false, false, true],
            '└' => [false, true, true, false],
            '┘' => [true, false, true, false],
            _ => return false,
        };
        let (middle, centre) = (left + WIDTH / 2.0, top + HEIGHT / 2.0);
        let (right, bottom) = (left + WIDTH, top + HEIGHT);
        let ends = [(left, centre), (right, centre), (middle, top), (middle, bottom)];
        for (_, (x, y)) in edges.into_iter().zip(ends).filter(|(drawn, _)| *drawn) {
            push(&mut self.lines, format_args!("M{middle:.1} {centre:.1}L{x:.1} {y:.1}"));
        }
        true
    }
}

/// Appends; a `String` always has room.
fn push(text: &mut String, arguments: fmt::Arguments<'_>) {
    let _ = text.write_fmt(arguments);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::style::Style;

    #[test]
    fn text_is_what_the_screen_shows() {
        let buffer = Buffer::with_lines(["ab  ", "    ", " ⣀─ "]);
        assert_eq!(text(&buffer), "ab\n\n ⣀─\n");
    }

    #[test]
    fn an_svg_draws_words_dots_and_lines() {
        let mut buffer = Buffer::with_lines(["a<b c", "⡁─   "]);
        buffer.set_string(4, 0, "c", Style::new().red().bold());
        let svg = svg(&buffer);
        for part in [
            "viewBox=\"0 0 42 34\"",
            "<text x=\"0.0\" y=\"13.0\" textLength=\"25.2\" fill=\"#d0d7de\">a&lt;b</text>",
            "<text x=\"33.6\" y=\"13.0\" textLength=\"8.4\" fill=\"#ff7b72\" font-weight=\"bold\">c</text>",
            "<path d=\"M2.1 19.1h0M2.1 31.9h0\" stroke=\"#d0d7de\" stroke-width=\"2.8\"",
            "<path d=\"M12.6 25.5L8.4 25.5M12.6 25.5L16.8 25.5\" stroke=\"#d0d7de\" stroke-width=\"1\"",
        ] {
            assert!(svg.contains(part), "{part} in {svg}");
        }
    }

    #[test]
    fn a_name_without_a_known_end_is_refused() {
        assert_eq!(Form::of(Path::new("a/b.svg")), Ok(Form::Svg));
        assert_eq!(Form::of(Path::new("b.txt")), Ok(Form::Text));
        for name in ["b", "b.png", ".svg"] {
            assert!(Form::of(Path::new(name)).unwrap_err().to_string().contains("must end in .svg or .txt"));
        }
    }
}
