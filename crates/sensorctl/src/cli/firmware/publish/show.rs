//! What a roll-out tells: bars on a terminal, lines elsewhere, or JSON objects.

use crate::firmware::chart::named;
use crate::firmware::fleet::{Standing, Tally};
use crate::firmware::manifest::Manifest;
use crate::firmware::rollout::run::{End, News};
use crate::firmware::service::{Upload, Uploaded};
use crate::firmware::stages::{Share, Verdict};
use crate::operator::now;
use crate::output::Out;
use indicatif::{ProgressBar, ProgressStyle};
use protocol::EpochMillis;
use serde_json::{Value, json};
use std::fmt::{Arguments, Display};
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Where nobody looks at a bar, a line so often at most.
const LINE: Duration = Duration::from_secs(2);

pub(super) struct Show {
    json: bool,
    bars: bool,
    broker: String,
    upload: ProgressBar,
    stage: ProgressBar,
    /// What the last line was of, and when.
    lined: Option<(&'static str, Instant)>,
    began: Instant,
}

/// Percent as a number.
pub(super) fn percent(share: Share) -> f64 {
    f64::from(share.0) / 10.0
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn value(tally: &Tally) -> Value {
    json!({"devices": tally.devices, "by_standing": tally.by_standing, "by_fault": tally.by_fault})
}

/// `12 confirmed, 3 downloading, 1 failed (reverted 1)`.
fn words(tally: &Tally) -> String {
    let count = |name: &&'static str| Some((*name, tally.count(name))).filter(|(_, count)| *count > 0);
    let mut words: Vec<String> =
        Standing::NAMES.iter().filter_map(count).map(|(name, count)| format!("{count} {name}")).collect();
    if !tally.by_fault.is_empty() {
        let faults: Vec<String> =
            tally.by_fault.iter().map(|(name, count)| format!("{name} {count}")).collect();
        words.push(format!("of these: {}", faults.join(", ")));
    }
    match (words.is_empty(), tally.known) {
        (false, _) => words.join(", "),
        (true, 0) => "no device was heard of".to_owned(),
        (true, _) => "no device is in this share".to_owned(),
    }
}

impl Show {
    pub(super) fn new(json: bool, broker: &str) -> Self {
        let bars = !json && io::stderr().is_terminal();
        Self {
            json,
            bars,
            broker: broker.to_owned(),
            upload: ProgressBar::hidden(),
            stage: ProgressBar::hidden(),
            lined: None,
            began: Instant::now(),
        }
    }

    pub(super) const fn is_json(&self) -> bool {
        self.json
    }

    /// A JSON object, or a line that stands above the bars.
    fn say(&self, value: impl FnOnce() -> Value, line: impl Display) -> io::Result<()> {
        let write = || {
            if self.json {
                let mut value = value();
                if let Some(object) = value.as_object_mut() {
                    object.insert("at".to_owned(), json!(now().to_string()));
                }
                writeln!(Out, "{value}")
            } else {
                writeln!(Out, "{line}")
            }
        };
        self.upload.suspend(|| self.stage.suspend(write))
    }

    pub(super) fn note(&self, line: Arguments<'_>) -> io::Result<()> {
        self.say(|| json!({"event": "note", "text": line.to_string()}), line)
    }

    /// True where it is time for another line of this kind.
    fn is_due(&mut self, kind: &'static str) -> bool {
        let due = self.lined.is_none_or(|(last, at)| last != kind || at.elapsed() >= LINE);
        if due {
            self.lined = Some((kind, Instant::now()));
        }
        due
    }

    pub(super) fn upload(&mut self, step: Upload) {
        let (what, done, of, bytes) = match step {
            Upload::Looking(done, of) => ("asking the broker", done, of, 0),
            Upload::Sending(done, of, bytes) => ("sending blocks", done, of, bytes),
            Upload::Checking(done, of) => ("reading back", done, of, 0),
        };
        if self.bars {
            if self.upload.is_hidden() {
                self.upload = ProgressBar::new(of as u64)
                    .with_style(style("{msg:20} {wide_bar} {pos}/{len} {elapsed}"));
            }
            let rate = bytes as f64 / 1024.0 / self.began.elapsed().as_secs_f64().max(0.001);
            let message = if bytes > 0 { format!("{what} {rate:.0} KiB/s") } else { what.to_owned() };
            self.upload.set_message(message);
            self.upload.set_position(done as u64);
        } else if self.is_due(what) {
            let event = || json!({"event": "blocks", "step": what, "done": done, "of": of, "bytes": bytes});
            // A line that is lost is followed by others; where the output is gone for good, the next one of those fails.
            let _ = self.say(event, format_args!("{what}: {done} of {of}"));
        }
    }

    pub(super) fn uploaded(&mut self, uploaded: &Uploaded) -> io::Result<()> {
        self.upload.finish_and_clear();
        let Uploaded { blocks, there, bytes } = *uploaded;
        let sent = blocks - there;
        let seconds = self.began.elapsed().as_secs_f64();
        self.say(
            || json!({"event": "uploaded", "blocks": blocks, "there": there, "bytes": bytes, "seconds": seconds}),
            format_args!(
                "{blocks} blocks at {}, {there} were there, {sent} sent ({bytes} bytes); all read back, {seconds:.1} s",
                self.broker
            ),
        )
    }

    pub(super) fn manifest(&self, manifest: &Manifest) -> io::Result<()> {
        self.say(
            || json!({"event": "manifest", "manifest": manifest.json()}),
            format_args!("manifest {} for class {}", named(manifest), manifest.class),
        )
    }

    pub(super) fn tell(&mut self, at: EpochMillis, news: &News<'_>) -> io::Result<()> {
        match news {
            News::Up => {
                if self.json {
                    self.say(|| json!({"event": "up"}), "")
                } else {
                    Ok(())
                }
            }
            News::Down(why, retry_ms) => self.say(
                || json!({"event": "down", "why": why, "retry_ms": retry_ms}),
                format_args!("{at} no connection: {why}; again in {retry_ms} ms"),
            ),
            News::Share(share, number) => self.say(
                || json!({"event": "share", "share": percent(*share), "number": number}),
                format_args!("{at} given to {share} (roll-out number {number})"),
            ),
            News::Device(id, standing) => self.device(at, id.as_str(), *standing),
            News::Tally(share, tally) => self.tally(at, *share, tally),
            News::Stage(share, verdict, tally) => {
                self.stage.finish_and_clear();
                self.stage = ProgressBar::hidden();
                self.lined = None;
                let (name, text) = match verdict {
                    Verdict::Stay => ("stay", "goes on"),
                    Verdict::Over => ("over", "is over"),
                    Verdict::TimeOver => ("time-over", "has waited long enough"),
                    Verdict::Stop => ("stop", "STOPS, too many devices failed"),
                };
                self.say(
                    || json!({"event": "stage", "share": percent(*share), "verdict": name, "tally": value(tally)}),
                    format_args!("{at} stage {share} {text}: {}", words(tally)),
                )
            }
            News::Dropped(id, why) => self.say(
                || json!({"event": "dropped", "id": id.as_str(), "why": why.to_string()}),
                format_args!("{at} {id}: dropped: {why}"),
            ),
            News::Refused(topic, why) => self.say(
                || json!({"event": "refused", "topic": topic, "why": why}),
                format_args!("{at} {topic:?} cannot be read: {why}"),
            ),
        }
    }

    /// Everything where programs read; failures alone where people do.
    fn device(&self, at: EpochMillis, id: &str, standing: Standing) -> io::Result<()> {
        match standing {
            Standing::Failed(fault) => self.say(
                || json!({"event": "device", "id": id, "standing": standing.name(), "fault": fault.as_str()}),
                format_args!("{at} {id} failed: {fault}"),
            ),
            _ if self.json => {
                self.say(|| json!({"event": "device", "id": id, "standing": standing.name()}), "")
            }
            _ => Ok(()),
        }
    }

    fn tally(&mut self, at: EpochMillis, share: Share, tally: &Tally) -> io::Result<()> {
        if self.bars {
            if self.stage.is_hidden() {
                self.stage =
                    ProgressBar::new(0).with_style(style("{prefix} {wide_bar} {pos}/{len} {elapsed}\n{msg}"));
                self.stage.enable_steady_tick(Duration::from_millis(250));
            }
            self.stage.set_prefix(share.to_string());
            self.stage.set_length(tally.devices as u64);
            self.stage.set_position(tally.confirmed() as u64);
            self.stage.set_message(words(tally));
            return Ok(());
        }
        if !self.is_due("tally") {
            return Ok(());
        }
        self.say(
            || json!({"event": "tally", "share": percent(share), "tally": value(tally)}),
            format_args!("{at} {share}: {}", words(tally)),
        )
    }

    pub(super) fn end(&mut self, end: &End) -> io::Result<()> {
        self.stage.finish_and_clear();
        let (name, tally, text) = match end {
            End::Done(tally) => ("done", Some(tally), "the roll-out is done".to_owned()),
            End::TimeOver(tally) => (
                "time-over",
                Some(tally),
                "the time is over and some devices are not done; they go on by themselves, and the share stays as it is".to_owned(),
            ),
            End::Unproven(tally) => (
                "unproven",
                Some(tally),
                "no device of this stage has confirmed the image, and no larger share follows by itself; the share stays as it is. \
                 Look at these devices (`sensorctl firmware status`), then give a larger --share, or withdraw it"
                    .to_owned(),
            ),
            End::Stopped(tally) => (
                "stopped",
                Some(tally),
                "STOPPED: the share is 0 and no device begins any more; `sensorctl firmware status` tells which failed"
                    .to_owned(),
            ),
            End::Interrupted(share) => (
                "interrupted",
                None,
                format!("interrupted; the release stays given to {share}: run the same command again to go on"),
            ),
        };
        let words = tally.map_or_else(String::new, |tally| format!(": {}", words(tally)));
        self.say(
            || json!({"event": "end", "end": name, "tally": tally.map(value)}),
            format_args!("{text}{words}"),
        )
    }
}
