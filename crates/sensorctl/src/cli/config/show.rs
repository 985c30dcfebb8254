//! What following a change tells: a bar on a terminal, lines elsewhere, or JSON objects.

use crate::config::fleet::Odd;
use crate::config::follow::run::{End, News};
use crate::config::follow::{Follow, Stand, Step, Tally};
use crate::config::standing::Standing;
use crate::operator::now;
use crate::output::Out;
use indicatif::{ProgressBar, ProgressStyle};
use protocol::{DeviceId, EpochMillis, Shown};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Where nobody looks at a bar, a line so often at most.
const LINE: Duration = Duration::from_secs(2);

/// Stragglers that are named, unless all are wanted.
const NAMED: usize = 20;

/// How often a message on the same topic that cannot be read is told.
const ODD: u32 = 3;

pub(super) struct Show {
    json: bool,
    bars: bool,
    bar: ProgressBar,
    lined: Option<Instant>,
    odd: BTreeMap<String, u32>,
    began: Instant,
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn value(tally: &Tally) -> Value {
    json!({"devices": tally.devices, "by_standing": tally.by_standing, "failed": tally.failed,
           "of_no_known_group": tally.of_no_known_group})
}

fn stand_json(id: &DeviceId, stand: &Stand) -> Value {
    json!({"id": id.as_str(), "standing": stand.standing.name(), "layer": stand.layer.as_str(),
           "number": stand.number, "text": stand.standing.to_string()})
}

impl Show {
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            bars: !json && io::stderr().is_terminal(),
            bar: ProgressBar::hidden(),
            lined: None,
            odd: BTreeMap::new(),
            began: Instant::now(),
        }
    }

    pub(super) const fn is_json(&self) -> bool {
        self.json
    }

    /// A JSON object, or a line that stands above the bar; no text is no line.
    pub(super) fn say(&self, value: impl FnOnce() -> Value, line: impl Display) -> io::Result<()> {
        let write = || {
            let mut out = Out;
            if self.json {
                let mut value = value();
                value["at"] = json!(now().to_string());
                writeln!(out, "{value}")?;
            } else {
                let line = line.to_string();
                if !line.is_empty() {
                    writeln!(out, "{line}")?;
                }
            }
            out.flush()
        };
        self.bar.suspend(write)
    }

    pub(super) fn tell(&mut self, at: EpochMillis, news: &News<'_>) -> io::Result<()> {
        match news {
            News::Up => self.say(|| json!({"event": "up"}), ""),
            News::Down(why, retry_ms) => self.say(
                || json!({"event": "down", "why": why, "retry_ms": retry_ms}),
                format_args!("{at} no connection: {why}; again in {retry_ms} ms"),
            ),
            News::Step(step) => self.step(at, step),
            News::Tally(tally) => self.tally(at, tally),
            News::Odd(odd) => self.odd(at, odd),
            News::Dropped(id, why) => self.say(
                || json!({"event": "dropped", "id": id.as_str(), "why": why.to_string()}),
                format_args!("{at} {id}: dropped: {why}"),
            ),
        }
    }

    /// Everything where programs read; to people what is wrong, and what is right again.
    fn step(&self, at: EpochMillis, step: &Step) -> io::Result<()> {
        let Step { id, before, after } = step;
        let was_wrong = before.as_ref().is_some_and(|before| before.rank() > 3);
        let line = match after {
            Some(Stand { standing, .. }) if standing.is_failure() => format!("{at} {id} {standing}"),
            // The message that cannot be read is told already.
            Some(Stand { standing: Standing::Unreadable(_), .. }) => String::new(),
            Some(Stand { standing, .. })
                if was_wrong && matches!(standing, Standing::InForce | Standing::Trying) =>
            {
                format!("{at} {id}: {standing}")
            }
            Some(Stand { standing, .. }) if *before == Some(Standing::InForce) => {
                format!("{at} {id} is not there any more: {standing}")
            }
            _ => String::new(),
        };
        let value = || {
            let mut value = after
                .as_ref()
                .map_or_else(|| json!({"id": id.as_str(), "standing": null}), |stand| stand_json(id, stand));
            value["event"] = json!("device");
            value["before"] = json!(before.as_ref().map(Standing::name));
            value
        };
        self.say(value, line)
    }

    fn tally(&mut self, at: EpochMillis, tally: &Tally) -> io::Result<()> {
        if self.bars {
            if self.bar.is_hidden() {
                self.bar = ProgressBar::new(0).with_style(style("{wide_bar} {pos}/{len} {elapsed}\n{msg}"));
                self.bar.enable_steady_tick(Duration::from_millis(250));
            }
            self.bar.set_length(tally.devices as u64);
            self.bar.set_position(tally.in_force() as u64);
            self.bar.set_message(tally.words());
            return Ok(());
        }
        let due = tally.is_done() || self.lined.is_none_or(|at| at.elapsed() >= LINE);
        if !due {
            return Ok(());
        }
        self.lined = Some(Instant::now());
        self.say(|| json!({"event": "tally", "tally": value(tally)}), format_args!("{at} {}", tally.words()))
    }

    /// Whoever sends rubbish all the time does not fill the screen.
    fn odd(&mut self, at: EpochMillis, odd: &Odd) -> io::Result<()> {
        let times = self.odd.entry(odd.topic.clone()).or_default();
        *times = times.saturating_add(1);
        if *times > ODD {
            return Ok(());
        }
        let more = if *times == ODD { "; more of them are not told" } else { "" };
        self.say(
            || json!({"event": "unreadable", "topic": odd.topic, "why": odd.why}),
            format_args!("{at} {} is of no use: {}{more}", Shown(&odd.topic), Shown(&odd.why)),
        )
    }

    /// The end, with everybody who does not run on it and why.
    pub(super) fn end(&mut self, end: End, follow: &Follow, all: bool) -> io::Result<()> {
        self.bar.finish_and_clear();
        let tally = follow.tally();
        let stragglers = follow.stragglers();
        let (name, text) = match end {
            End::Over if tally.is_done() => ("done", "it is in force everywhere"),
            End::Over => ("over", "not in force everywhere, and nothing more is to be expected"),
            End::TimeOver => ("time-over", "the time is over; devices that come later take it still"),
            End::Stopped => ("stopped", "STOPPED: too many devices failed"),
            End::Interrupted => ("interrupted", "interrupted; devices go on by themselves"),
        };
        let seconds = self.began.elapsed().as_secs_f64();
        if !self.json {
            let shown = if all { stragglers.len() } else { NAMED };
            for (id, stand) in stragglers.iter().take(shown) {
                self.say(|| Value::Null, format_args!("  {id}: {}", stand.standing))?;
            }
            if let Some(more) = stragglers.len().checked_sub(shown).filter(|more| *more > 0) {
                self.say(|| Value::Null, format_args!("  and {more} more (--list names all)"))?;
            }
        }
        let list = || stragglers.iter().map(|(id, stand)| stand_json(id, stand)).collect::<Vec<_>>();
        self.say(
            || json!({"event": "end", "end": name, "tally": value(&tally), "stragglers": list(), "seconds": seconds}),
            format_args!("{text}: {} ({seconds:.1} s)", tally.words()),
        )
    }
}
