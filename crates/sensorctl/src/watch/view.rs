//! The live view: a table of devices and a plot of each value of the one that is selected. Draws what it is given; owns
//! only which device is selected. Never cuts a number: what has no room is left out as a whole, and how much is said.

use super::fit::{self, Item};
use super::summary::{Summary, Verdict, range};
use super::{Link, Point, QUANTITIES, Quantity, Watch};
use crate::ledger::Device;
use protocol::{ClockQuality, DeviceId, EpochMillis};
use ratatui::Frame;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, Paragraph, Row, Table, TableState};

/// Size of a picture for documents, in characters.
pub const PICTURE: (u16, u16) = (120, 26);

const GOOD: Style = Style::new().fg(Color::Green);
const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const NOTED: Style = Style::new().fg(Color::Yellow);
const QUIET: Style = Style::new().fg(Color::DarkGray);
const COLOURS: [Color; 3] = [Color::LightRed, Color::LightBlue, Color::LightGreen];

/// What a person has chosen.
#[derive(Debug, Default)]
pub struct View {
    table: TableState,
    selected: Option<DeviceId>,
}

/// A key that was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// The device above.
    Up,
    /// The device below.
    Down,
    /// The first device.
    First,
    /// The last device.
    Last,
}

impl View {
    /// Selects another device.
    pub fn select(&mut self, watch: &Watch, wanted: Move) {
        let ids: Vec<_> = watch.ledger.devices().map(|(id, _)| id).collect();
        let now = self.position(watch);
        let next = match wanted {
            Move::Up => now.saturating_sub(1),
            Move::Down => now + 1,
            Move::First => 0,
            Move::Last => usize::MAX,
        };
        self.selected = ids.get(next.min(ids.len().saturating_sub(1))).map(|id| (*id).clone());
    }

    fn position(&self, watch: &Watch) -> usize {
        watch.ledger.devices().position(|(id, _)| Some(id) == self.selected.as_ref()).unwrap_or(0)
    }

    /// Draws the whole screen as it is at `now`; `broker` is where it is connected to.
    pub fn draw(&mut self, frame: &mut Frame<'_>, watch: &Watch, broker: &str, now: EpochMillis) {
        let rows = watch.ledger.devices().len().max(1) as u16;
        let area = frame.area();
        // The plots get at least ten lines where the screen has twenty; the table as many as it needs.
        let plots = Constraint::Min(if area.height >= 20 { 10 } else { 0 });
        let [head, table, plots, foot] = Layout::vertical([
            Constraint::Length(2),
            Constraint::Max(rows.saturating_add(2)),
            plots,
            Constraint::Length(1),
        ])
        .areas(area);
        let summary = Summary::new(watch, now);
        let lines = heading(&summary, broker).map(|items| fit::line(items, area.width));
        frame.render_widget(Paragraph::new(lines.to_vec()), head);
        self.draw_table(frame, table, watch);
        let hidden = self.draw_plots(frame, plots, watch);
        frame.render_widget(Paragraph::new(fit::line(footing(&watch.link, hidden), area.width)), foot);
    }

    fn draw_table(&mut self, frame: &mut Frame<'_>, area: Rect, watch: &Watch) {
        let rows: Vec<[Span<'static>; COLUMNS.len()]> =
            watch.ledger.devices().map(|(id, device)| row(id, device)).collect();
        let wanted: Vec<(u16, u8)> = COLUMNS
            .iter()
            .enumerate()
            .map(|(place, column)| {
                let widest =
                    rows.iter().filter_map(|row| row.get(place)).map(|span| fit::width(&span.content));
                let widest = widest.chain([fit::width(column.name), column.width]).max();
                (widest.unwrap_or_default(), column.worth)
            })
            .collect();
        let shown = fit::columns(&wanted, area.width);
        let hidden = COLUMNS.len() - shown.len();
        let header = cells(&COLUMNS.map(|column| Span::styled(column.name, QUIET)), &shown);
        let widths = shown.iter().map(|(_, width)| Constraint::Length(*width));
        let mut block = Block::new().borders(ratatui::widgets::Borders::TOP).border_style(QUIET);
        if hidden > 0 {
            block = block
                .title(Line::from(fit::cut(&format!("{hidden} columns hidden"), area.width)).right_aligned());
        }
        let table = Table::new(rows.iter().map(|row| cells(row, &shown)), widths)
            .header(header)
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
            .block(block);
        self.table.select((watch.ledger.devices().len() > 0).then(|| self.position(watch)));
        frame.render_stateful_widget(table, area, &mut self.table);
    }

    /// Gives how many plots have no room.
    fn draw_plots(&self, frame: &mut Frame<'_>, area: Rect, watch: &Watch) -> usize {
        let device = watch.ledger.devices().nth(self.position(watch)).map(|(id, _)| id);
        let history: Vec<Point> = device.map(|id| watch.history(id).copied().collect()).unwrap_or_default();
        let plots = QUANTITIES.each_ref().map(|quantity| Plot::new(quantity, device, &history));
        let fits = |count: &usize| {
            let share = area.width.checked_div(u16::try_from(*count).unwrap_or(u16::MAX));
            plots.iter().take(*count).all(|plot| share.is_some_and(|share| plot.width() <= share))
        };
        // On fewer lines the names at top and bottom would lie over each other.
        let count =
            (1..=plots.len()).rev().find(fits).filter(|_| area.height >= PLOT_LINES).unwrap_or_default();
        let areas = Layout::horizontal(vec![Constraint::Fill(1); count]).split(area);
        for ((plot, area), colour) in plots.iter().zip(areas.iter()).zip(COLOURS) {
            plot.draw(frame, *area, colour);
        }
        plots.len() - count
    }
}

/// Fewest lines of a plot: its border and one between.
const PLOT_LINES: u16 = 3;

/// A column of the table.
#[derive(Clone, Copy)]
struct Column {
    name: &'static str,
    /// Characters that it gets at least.
    width: u16,
    /// The column with the least is left out first.
    worth: u8,
}

const fn column(name: &'static str, width: u16, worth: u8) -> Column {
    Column { name, width, worth }
}

/// The device is always there.
const COLUMNS: [Column; 14] = [
    column("device", 15, u8::MAX),
    column("firmware", 10, 3),
    column("boot", 5, 2),
    column("clock", 6, 5),
    column("connect", 8, 1),
    column("samples", 9, 9),
    column("rate/s", 6, 4),
    column("lost", 6, 8),
    column("again", 6, 6),
    column("unexpl.", 7, 10),
    column("faults", 6, 7),
    column("°C", 7, 13),
    column("%", 6, 12),
    column("hPa", 8, 11),
];

/// The screen as a picture of [`PICTURE`] characters, as a terminal of that size would show it.
pub fn picture(view: &mut View, watch: &Watch, broker: &str, now: EpochMillis) -> Buffer {
    let (width, height) = PICTURE;
    let drawn = ratatui::Terminal::new(TestBackend::new(width, height)).and_then(|mut terminal| {
        terminal.draw(|frame| view.draw(frame, watch, broker, now))?;
        Ok(terminal.backend().buffer().clone())
    });
    match drawn {
        Ok(buffer) => buffer,
        Err(impossible) => match impossible {},
    }
}

/// The columns that are shown, with their widths; texts to the left, numbers to the right.
fn cells(spans: &[Span<'static>; COLUMNS.len()], shown: &[(usize, u16)]) -> Row<'static> {
    let cell = |(place, width): &(usize, u16)| {
        let mut span = spans.get(*place).cloned().unwrap_or_default();
        let text = matches!(place, 0 | 1 | 3);
        // A device's id may be longer than the screen is wide; nothing else is.
        span.content = fit::cut(&span.content, *width).into();
        Line::from(span).alignment(if text { Alignment::Left } else { Alignment::Right })
    };
    Row::new(shown.iter().map(cell).collect::<Vec<_>>())
}

fn heading(summary: &Summary, broker: &str) -> [Vec<Item>; 2] {
    let counts = &summary.counts;
    let seconds = summary.millis / 1000;
    let (verdict, style) = match summary.verdict() {
        Verdict::Whole => ("nothing is missing", GOOD),
        Verdict::Lost => ("what is lost was declared", NOTED),
        Verdict::Silent if summary.spoke == 0 => ("nothing has come", NOTED),
        Verdict::Silent => ("not every device was heard", NOTED),
        Verdict::Inconsistent => ("DATA IS MISSING WITHOUT EXPLANATION", BAD),
    };
    let plain = |worth, text: String| Item::new(worth, Span::raw(text));
    let mut second = vec![
        plain(7, format!("lost {}", counts.lost)),
        plain(6, format!("duplicates {}", counts.duplicates)),
        plain(8, format!("unexplained {}", counts.unexplained)),
        plain(5, format!("out of order {}", counts.out_of_order)),
    ];
    if let (Some(median), Some(max)) = (summary.latency_median_ms, summary.latency_max_ms) {
        second.push(plain(4, format!("latency {median} ms median, {max} ms max")));
    }
    if let Some(bytes) = summary.bytes_per_sample() {
        second.push(plain(3, format!("{bytes} bytes/sample")));
    }
    let time = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let first = vec![
        Item::new(2, Span::styled("sensorctl watch", Style::new().add_modifier(Modifier::BOLD))),
        plain(1, broker.to_owned()),
        plain(5, time),
        plain(6, format!("{} devices, {} samples", summary.devices, counts.samples)),
        Item::new(9, Span::styled(verdict, style)),
    ];
    [first, second]
}

fn footing(link: &Link, hidden: usize) -> Vec<Item> {
    let (text, style) = match link {
        Link::Connecting => ("connecting …".to_owned(), NOTED),
        Link::Up { .. } => ("connected: mutual TLS, MQTT, QoS 1".to_owned(), GOOD),
        Link::Down { reason, .. } => (format!("no connection: {reason}"), BAD),
    };
    let mut items = vec![
        Item::new(1, Span::styled("↑ ↓ device", QUIET)),
        Item::new(2, Span::styled("q quit", QUIET)),
        Item::new(9, Span::styled(text, style)),
    ];
    if hidden > 0 {
        items.push(Item::new(3, Span::styled(format!("{hidden} plots hidden"), QUIET)));
    }
    items
}

fn row(id: &DeviceId, device: &Device) -> [Span<'static>; COLUMNS.len()] {
    let counts = device.counts();
    let plain = |text: String| Span::raw(text);
    let count = |n: u64, style: Style| {
        if n == 0 { Span::styled("0", QUIET) } else { Span::styled(n.to_string(), style) }
    };
    let clock = match device.clock {
        Some(ClockQuality::Synchronised) => Span::styled("sync", GOOD),
        Some(ClockQuality::Holdover) => Span::styled("hold", NOTED),
        Some(ClockQuality::Unset) => Span::styled("unset", BAD),
        None => Span::styled("?", QUIET),
    };
    let unknown = || "-".to_owned();
    let values = QUANTITIES.map(|quantity| match device.last {
        Some((_, Ok(measurement))) => Span::raw(format!("{:.2}", (quantity.value)(measurement))),
        Some((_, Err(_))) => Span::styled("fault", BAD),
        None => Span::styled("-", QUIET),
    });
    let [temperature, humidity, pressure] = values;
    [
        plain(id.to_string()),
        plain(device.firmware.as_ref().map_or_else(unknown, ToString::to_string)),
        plain(device.boot().map_or_else(unknown, |boot| boot.to_string())),
        clock,
        plain(device.handshake_ms.map_or_else(unknown, |millis| format!("{millis} ms"))),
        plain(counts.samples.to_string()),
        plain(device.rate().map_or_else(unknown, |rate| format!("{rate:.1}"))),
        count(counts.lost, NOTED),
        count(counts.duplicates, Style::new()),
        count(counts.unexplained + counts.out_of_order + counts.contradictions, BAD),
        count(device.faults, NOTED),
        temperature,
        humidity,
        pressure,
    ]
}

/// The course of one value. A fault leaves a hole in the line.
struct Plot<'w> {
    device: Option<&'w DeviceId>,
    title: String,
    runs: Vec<Vec<(f64, f64)>>,
    /// The bounds of time and value, and their labels.
    axes: Option<[Bounds; 2]>,
}

struct Bounds {
    bounds: [f64; 2],
    labels: [String; 2],
}

impl<'w> Plot<'w> {
    fn new(quantity: &Quantity, device: Option<&'w DeviceId>, history: &[Point]) -> Self {
        let latest = history.iter().map(|(at, _)| *at).max();
        let runs: Vec<Vec<(f64, f64)>> = history
            .split(|(_, measurement)| measurement.is_none())
            .map(|run| {
                let point = |(at, measurement): &Point| {
                    Some((at.since(latest?) as f64 / 1000.0, (quantity.value)((*measurement)?)))
                };
                run.iter().filter_map(point).collect()
            })
            .collect();
        let all: Vec<f64> = runs.iter().flatten().map(|(_, value)| *value).collect();
        let Some((least, greatest)) = range(&all) else {
            let title = format!(" {} {} ", quantity.name, quantity.unit);
            return Self { device, title, runs, axes: None };
        };
        let first = runs.iter().flatten().map(|(at, _)| *at).fold(-1.0, f64::min);
        let margin = ((greatest - least) * 0.05).max(0.01);
        let (low, high) = (least - margin, greatest + margin);
        let title = format!(" {} {}  {least:.2} … {greatest:.2} ", quantity.name, quantity.unit);
        let time = Bounds { bounds: [first, 0.0], labels: [format!("{first:.0} s"), "0 s".into()] };
        let value = Bounds { bounds: [low, high], labels: [format!("{low:.2}"), format!("{high:.2}")] };
        Self { device, title, runs, axes: Some([time, value]) }
    }

    /// Characters that it needs with its border: the title, and a third of it for the labels at its side.
    fn width(&self) -> u16 {
        let labels = self.axes.iter().flatten().flat_map(|axis| &axis.labels);
        let labels = labels.map(|label| fit::width(label)).max().unwrap_or_default();
        fit::width(&self.title).max(3 * labels).saturating_add(2)
    }

    fn draw(&self, frame: &mut Frame<'_>, area: Rect, colour: Color) {
        let room = area.width.saturating_sub(2);
        let name = self.device.map(|id| fit::cut(&format!(" {id} "), room));
        let name = Line::from(name.unwrap_or_default()).right_aligned();
        let block = Block::bordered().border_style(QUIET).title_bottom(name).title(self.title.clone());
        let Some([time, value]) = &self.axes else {
            let empty = Paragraph::new("no sample yet").style(QUIET);
            frame.render_widget(empty.block(block), area);
            return;
        };
        let axis = |axis: &Bounds| {
            let labels = axis.labels.clone().map(|text| Span::styled(text, QUIET));
            Axis::default().bounds(axis.bounds).style(QUIET).labels(labels)
        };
        let datasets = self.runs.iter().map(|run| {
            Dataset::default().marker(Marker::Braille).graph_type(GraphType::Line).style(colour).data(run)
        });
        let chart = Chart::new(datasets.collect()).block(block).x_axis(axis(time)).y_axis(axis(value));
        frame.render_widget(chart, area);
    }
}
