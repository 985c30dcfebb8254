//! One watch from beginning to end: messages in, screen or lines out, summary last. Owns the terminal and the clock.

use super::link::{self, Incoming, LinkError, Options};
use super::picture::Form;
use super::summary::{Summary, Verdict, sparklines};
use super::view::{Move, View, picture};
use super::{Event, Link, Watch, lines};
use crate::folder::{self, FolderError};
use crate::output::{Out, note};
use protocol::DeviceId;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

/// How often the screen is drawn and keys are read.
const TICK: Duration = Duration::from_millis(100);
/// Messages that wait between the link and the screen.
const QUEUE: usize = 256;
/// Width of the plots in the summary, in characters.
const SPARKLINE: usize = 60;

/// How events are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// A screen that changes: for terminals.
    Live,
    /// A line for each event.
    Lines,
    /// A JSON object for each event, one a line.
    Json,
}

/// When a watch ends by itself, and what it leaves.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How events are shown.
    pub show: Show,
    /// Ends after so many seconds.
    pub seconds: Option<u64>,
    /// Ends when so many samples have come.
    pub until_samples: Option<u64>,
    /// Devices that are in service.
    pub expected: BTreeSet<DeviceId>,
    /// Writes the last screen there.
    pub snapshot: Option<(PathBuf, Form)>,
}

/// Why a watch failed.
#[derive(Debug)]
pub enum WatchError {
    /// The link cannot be had.
    Link(LinkError),
    /// There never was a connection; why the last attempt failed.
    NeverConnected(String),
    /// Time was over before so many samples had come: had, wanted.
    TooFew(u64, u64),
    /// The picture could not be written.
    Folder(FolderError),
    /// The terminal or the standard output.
    Output(io::Error),
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(error) => error.fmt(f),
            Self::NeverConnected(reason) => write!(f, "there was no connection to the broker: {reason}"),
            Self::TooFew(had, wanted) => {
                write!(f, "{had} samples came in the time given; {wanted} were wanted")
            }
            Self::Folder(error) => error.fmt(f),
            Self::Output(error) => write!(f, "cannot write to the standard output: {error}"),
        }
    }
}

impl std::error::Error for WatchError {}

impl From<LinkError> for WatchError {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl From<io::Error> for WatchError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Watches until the plan, a key or a signal ends it; the summary is then on the standard output.
pub fn run(options: Options, plan: &Plan) -> Result<Verdict, WatchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(watch(options, plan))
}

async fn watch(options: Options, plan: &Plan) -> Result<Verdict, WatchError> {
    let broker = format!("{}:{}", options.operator.host, options.operator.port);
    let mut session = Session {
        watch: Watch { expected: plan.expected.clone(), ..Watch::new(link::now()) },
        screen: Screen::open(plan.show, broker)?,
        plan,
        failed: None,
        last_reason: "none was tried".to_owned(),
    };
    let (sender, receiver) = mpsc::channel(QUEUE);
    let (stop, stopped) = oneshot::channel();
    let link = tokio::spawn(link::keep(options, sender, stopped));
    let ended = session.drive(receiver).await;
    // The link may have ended before.
    let _ = stop.send(());
    let _ = link.await;
    // The terminal is given back before anything else is said.
    session.screen.close();
    ended?;
    session.finish()
}

struct Session<'a> {
    watch: Watch,
    screen: Screen,
    plan: &'a Plan,
    failed: Option<LinkError>,
    last_reason: String,
}

impl Session<'_> {
    async fn drive(&mut self, mut receiver: mpsc::Receiver<Incoming>) -> Result<(), WatchError> {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Without an end, one that nobody lives to see.
        let seconds = self.plan.seconds.unwrap_or(u64::from(u32::MAX));
        let mut end = std::pin::pin!(tokio::time::sleep(Duration::from_secs(seconds)));
        loop {
            tokio::select! {
                incoming = receiver.recv() => match incoming {
                    Some(incoming) => if self.take(incoming)? { return Ok(()) },
                    None => return Ok(()),
                },
                _ = tick.tick() => if self.screen.tick(&self.watch)? { return Ok(()) },
                () = &mut end => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
            }
        }
    }

    /// Takes in what the link brings; true where that ends the watch.
    fn take(&mut self, incoming: Incoming) -> Result<bool, WatchError> {
        let event = match incoming {
            Incoming::Link(link) => {
                if let Link::Down { reason, .. } = &link {
                    self.last_reason.clone_from(reason);
                }
                self.watch.link(link::now(), link)
            }
            Incoming::Message { at, topic, payload } => self.watch.message(at, &topic, &payload),
            Incoming::Dropped { at, topic, why } => match self.watch.dropped(at, topic, why) {
                Some(event) => event,
                None => return Ok(false),
            },
            Incoming::Failed(error) => {
                self.failed = Some(error);
                return Ok(true);
            }
        };
        self.screen.tell(&event)?;
        Ok(self.plan.until_samples.is_some_and(|wanted| self.watch.ledger.samples() >= wanted))
    }

    fn finish(mut self) -> Result<Verdict, WatchError> {
        let now = link::now();
        let summary = Summary::new(&self.watch, now);
        let mut out = Out;
        if self.plan.show == Show::Json {
            writeln!(out, "{}", summary.json())?;
        } else {
            for line in sparklines(&self.watch, SPARKLINE) {
                writeln!(out, "{line}")?;
            }
            writeln!(out, "{summary}")?;
        }
        out.flush()?;
        if let Some((path, form)) = &self.plan.snapshot {
            let buffer = picture(&mut self.screen.view, &self.watch, &self.screen.broker, now);
            folder::replace(path, form.render(&buffer).as_bytes()).map_err(WatchError::Folder)?;
        }
        if let Some(error) = self.failed {
            return Err(error.into());
        }
        if !self.watch.connected_once {
            return Err(WatchError::NeverConnected(self.last_reason));
        }
        match self.plan.until_samples {
            Some(wanted) if self.plan.seconds.is_some() && summary.counts.samples < wanted => {
                Err(WatchError::TooFew(summary.counts.samples, wanted))
            }
            _ => Ok(summary.verdict()),
        }
    }
}

/// Where events are shown.
struct Screen {
    show: Show,
    broker: String,
    view: View,
    terminal: Option<DefaultTerminal>,
}

impl Screen {
    fn open(show: Show, broker: String) -> Result<Self, WatchError> {
        let terminal = if show == Show::Live { Some(ratatui::try_init()?) } else { None };
        Ok(Self { show, broker, view: View::default(), terminal })
    }

    fn close(&mut self) {
        if self.terminal.take().is_some() {
            ratatui::restore();
        }
    }

    fn tell(&self, event: &Event) -> Result<(), WatchError> {
        match self.show {
            Show::Live => {}
            Show::Lines if matches!(event.news, super::News::Link(_)) => note!("{}", lines::text(event)),
            Show::Lines => writeln!(Out, "{}", lines::text(event))?,
            Show::Json => writeln!(Out, "{}", lines::json(event))?,
        }
        Ok(())
    }

    /// Draws and reads keys; true where one of them ends the watch.
    fn tick(&mut self, watch: &Watch) -> Result<bool, WatchError> {
        let Some(terminal) = &mut self.terminal else { return Ok(false) };
        while event::poll(Duration::ZERO)? {
            let event::Event::Key(key) = event::read()? else { continue };
            match wish(key) {
                Some(Wish::Quit) => return Ok(true),
                Some(Wish::Select(wanted)) => self.view.select(watch, wanted),
                None => {}
            }
        }
        terminal.draw(|frame| self.view.draw(frame, watch, &self.broker, link::now()))?;
        Ok(false)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.close();
    }
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Quit,
    Select(Move),
}

fn wish(key: KeyEvent) -> Option<Wish> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Wish::Quit),
        KeyCode::Char('q') | KeyCode::Esc => Some(Wish::Quit),
        KeyCode::Up | KeyCode::Char('k') => Some(Wish::Select(Move::Up)),
        KeyCode::Down | KeyCode::Char('j') => Some(Wish::Select(Move::Down)),
        KeyCode::Home => Some(Wish::Select(Move::First)),
        KeyCode::End => Some(Wish::Select(Move::Last)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_quit_and_select() {
        let plain = |code| KeyEvent::new(code, KeyModifiers::NONE);
        for key in [plain(KeyCode::Char('q')), KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)] {
            assert_eq!(wish(key), Some(Wish::Quit));
        }
        assert_eq!(wish(plain(KeyCode::Down)), Some(Wish::Select(Move::Down)));
        assert_eq!(wish(plain(KeyCode::Char('c'))), None);
        let released = KeyEvent { kind: KeyEventKind::Release, ..plain(KeyCode::Char('q')) };
        assert_eq!(wish(released), None);
    }
}
