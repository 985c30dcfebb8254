//! The live view: a table of devices and a plot of each value of the one that is selected. Draws what it is given; owns
//! only which device is selected.

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
        frame.render_widget(Paragraph::new(heading(&summary, broker)), head);
        self.draw_table(frame, table, watch);
        self.draw_plots(frame, plots, watch);
        frame.render_widget(Paragraph::new(footing(&watch.link)), foot);
    }

    fn draw_table(&mut self, frame: &mut Frame<'_>, area: Rect, watch: &Watch) {
        let header = [
            "device", "firmware", "boot", "clock", "connect", "samples", "rate/s", "lost", "again",
            "unexpl.", "faults", "°C", "%", "hPa",
        ];
        let widths = [15, 10, 5, 6, 8, 9, 6, 6, 6, 7, 6, 7, 6, 8];
        let header = cells(header.map(|name| Span::styled(name, QUIET)));
        let rows = watch.ledger.devices().map(|(id, device)| cells(row(id, device)));
        let table = Table::new(rows, widths.map(Constraint::Length))
            .header(header)
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
            .block(Block::new().borders(ratatui::widgets::Borders::TOP).border_style(QUIET));
        self.table.select((watch.ledger.devices().len() > 0).then(|| self.position(watch)));
        frame.render_stateful_widget(table, area, &mut self.table);
    }

    fn draw_plots(&self, frame: &mut Frame<'_>, area: Rect, watch: &Watch) {
        let areas = Layout::horizontal([Constraint::Fill(1); 3]).areas::<3>(area);
        let device = watch.ledger.devices().nth(self.position(watch)).map(|(id, _)| id);
        let history: Vec<Point> = device.map(|id| watch.history(id).copied().collect()).unwrap_or_default();
        for ((quantity, area), colour) in QUANTITIES.iter().zip(areas).zip(COLOURS) {
            plot(frame, area, quantity, (device, &history), colour);
        }
    }
}

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

/// Texts to the left, numbers to the right.
fn cells(spans: [Span<'static>; 14]) -> Row<'static> {
    let mut column = 0;
    Row::new(spans.map(|span| {
        column += 1;
        let text = column <= 2 || column == 4;
        Line::from(span).alignment(if text { Alignment::Left } else { Alignment::Right })
    }))
}

fn heading(summary: &Summary, broker: &str) -> Vec<Line<'static>> {
    let counts = &summary.counts;
    let seconds = summary.millis / 1000;
    let (verdict, style) = match summary.verdict() {
        Verdict::Whole => ("nothing is missing", GOOD),
        Verdict::Lost => ("what is lost was declared", NOTED),
        Verdict::Silent if summary.spoke == 0 => ("nothing has come", NOTED),
        Verdict::Silent => ("not every device was heard", NOTED),
        Verdict::Inconsistent => ("DATA IS MISSING WITHOUT EXPLANATION", BAD),
    };
    let latency = match (summary.latency_median_ms, summary.latency_max_ms) {
        (Some(median), Some(max)) => format!("   latency {median} ms median, {max} ms max"),
        _ => String::new(),
    };
    let bytes =
        summary.bytes_per_sample().map(|bytes| format!("   {bytes} bytes/sample")).unwrap_or_default();
    vec![
        Line::from(vec![
            Span::styled("sensorctl watch", Style::new().add_modifier(Modifier::BOLD)),
            Span::raw(format!(
                "   {broker}   {:02}:{:02}:{:02}   {} devices, {} samples   ",
                seconds / 3600,
                seconds / 60 % 60,
                seconds % 60,
                summary.devices,
                counts.samples
            )),
            Span::styled(verdict, style),
        ]),
        Line::from(format!(
            "lost {}   duplicates {}   unexplained {}   out of order {}{latency}{bytes}",
            counts.lost, counts.duplicates, counts.unexplained, counts.out_of_order
        )),
    ]
}

fn footing(link: &Link) -> Line<'static> {
    let (text, style) = match link {
        Link::Connecting => ("connecting …".to_owned(), NOTED),
        Link::Up { .. } => ("connected: mutual TLS, MQTT, QoS 1".to_owned(), GOOD),
        Link::Down { reason, .. } => (format!("no connection: {reason}"), BAD),
    };
    Line::from(vec![Span::styled("↑ ↓ device   q quit   ", QUIET), Span::styled(text, style)])
}

fn row(id: &DeviceId, device: &Device) -> [Span<'static>; 14] {
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
fn plot(
    frame: &mut Frame<'_>,
    area: Rect,
    quantity: &Quantity,
    (device, history): (Option<&DeviceId>, &[Point]),
    colour: Color,
) {
    let name = device.map(|id| Line::from(format!(" {id} ")).right_aligned()).unwrap_or_default();
    let block = Block::bordered().border_style(QUIET).title_bottom(name);
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
        let empty = Paragraph::new("no sample yet").style(QUIET);
        frame.render_widget(empty.block(block.title(format!(" {} {} ", quantity.name, quantity.unit))), area);
        return;
    };
    let first = runs.iter().flatten().map(|(at, _)| *at).fold(-1.0, f64::min);
    let margin = ((greatest - least) * 0.05).max(0.01);
    let (low, high) = (least - margin, greatest + margin);
    let datasets = runs.iter().map(|run| {
        Dataset::default().marker(Marker::Braille).graph_type(GraphType::Line).style(colour).data(run)
    });
    let title = format!(" {} {}  {least:.2} … {greatest:.2} ", quantity.name, quantity.unit);
    let labels = |texts: [String; 2]| texts.map(|text| Span::styled(text, QUIET));
    let chart = Chart::new(datasets.collect())
        .block(block.title(title))
        .x_axis(
            Axis::default()
                .bounds([first, 0.0])
                .style(QUIET)
                .labels(labels([format!("{first:.0} s"), "0 s".into()])),
        )
        .y_axis(
            Axis::default()
                .bounds([low, high])
                .style(QUIET)
                .labels(labels([format!("{low:.2}"), format!("{high:.2}")])),
        );
    frame.render_widget(chart, area);
}
