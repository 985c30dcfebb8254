//! How the device starts: what of the store it needs, in which order, and what damage there costs. R-CONF, R-DATA-INTACT.

use super::{Device, Opened};
use crate::audit::uplink::Uplink;
use crate::audit::{self, Audit, RingError};
use crate::backlog::Backlog;
use crate::boots::{Boots, count_boot, read_ends};
use crate::clock::Clock;
use crate::clock::keeping::Keeping;
use crate::commands::Commands;
use crate::config;
use crate::cx::{Cx, MESSAGE_BYTES_MAX, NOTES_MAX};
use crate::event::Note;
use crate::gate::Gate;
use crate::identity::token::Token;
use crate::identity::{Identity, record};
use crate::interface::{BootInfo, StartError};
use crate::life::Life;
use crate::mail::Outbox;
use crate::platform::{Key, Platform, Slots, Uptime};
use crate::session::Session;
use crate::settings::{Owner, Settings, Started};
use crate::stored;
use crate::telemetry::{Ring, Telemetry};
use crate::trial::Trials;
use crate::update::Update;
use core::borrow::BorrowMut;
use heapless::Deque;
use protocol::config::CONFIGURATION_BYTES_MAX;
use protocol::hello::PreviousBoots;
use protocol::{EpochMillis, Hello};

/// Loads what is stored, and counts the boot.
pub(super) fn start<P: Platform + Slots, R: BorrowMut<Ring>>(
    ring: R,
    mut platform: P,
    info: BootInfo,
    now: Uptime,
) -> Result<Device<P, R>, StartError> {
    let mut identity = match record::open(&mut platform).map_err(StartError::Identity)? {
        None => return Err(StartError::Blank),
        Some(record::Life::Destroyed | record::Life::Ending(_)) => return Err(StartError::Destroyed),
        Some(record::Life::Provisioned(record)) => {
            Identity::load(record, &mut platform).map_err(StartError::Identity)?
        }
    };
    let mut notes = Deque::<Note, NOTES_MAX>::new();
    if let Err(error) = identity.clear(EpochMillis(0), &mut platform) {
        // The first of a few that fit.
        let _fits = notes.push_back(Note::IdentityFailed(error));
    }
    let configuration = config::load(&mut platform).map_err(StartError::Configuration)?;
    if configuration.id != *identity.id() {
        return Err(StartError::Configuration(config::LoadError::OtherDevice));
    }
    let boot = count_boot(&mut platform).map_err(StartError::Storage)?;
    // What former boots have left is worth less than this one: damage in it is counted, and costs only that.
    let mut storage_errors = 0;
    let ends = read_ends(&mut platform).unwrap_or_else(|_| {
        storage_errors += 1;
        PreviousBoots::default()
    });
    let stored = stored::number(&mut platform, Key::Time).unwrap_or_else(|_| {
        storage_errors += 1;
        None
    });
    let Started { settings, configuration, sought, .. } = {
        let mut scratch = [0; CONFIGURATION_BYTES_MAX];
        let owner = Owner { id: identity.id(), group: identity.group() };
        let bound = info.pace.configuration_ms;
        let started = Settings::load(configuration, bound, owner, now, &mut platform, &mut scratch);
        if started.damaged {
            storage_errors += 1;
            let _fits = notes.push_back(Note::ConfigurationDamaged);
        }
        if let Some(error) = started.storage {
            storage_errors += 1;
            let _fits = notes.push_back(Note::Storage(error));
        }
        if let Some(undone) = &started.undone {
            let (layer, number) = (undone.layer, undone.number);
            let _fits = notes.push_back(Note::ConfigurationUndone { layer, number, failure: None });
        }
        started
    };
    let mut clock = Clock::new(info.build, stored.map(EpochMillis), 0);
    clock.replace(now, configuration.time_servers.len(), sought);
    let backlog = Backlog::load(&mut platform);
    let update = Update::load(info.product, info.pace, info.reset, now, &mut platform);
    let adopted = audit::adopt(&mut platform, identity.id()).err();
    let (audit, log_error) = Audit::open(&mut platform, boot);
    let commands = Commands::load(identity.is_rotating(), &mut platform);
    let mut random = [0; 4];
    // Without a random number the first attempt comes at the end of its window.
    let random = platform.fill(&mut random).map_or(u32::MAX, |()| u32::from_le_bytes(random));
    let hello = Hello::new(configuration.id.clone(), info.firmware.clone(), info.board, boot, info.reset);
    Ok(Device {
        telemetry: Telemetry::new(ring, boot, &configuration, now),
        cx: Cx {
            platform,
            now,
            clock,
            session: Session::new(info.policy, configuration.keep_alive_s, now, random),
            policy: info.policy,
            product: info.product,
            configuration,
            gate: Gate::default(),
            outbox: Outbox::default(),
            audit,
            reading: None,
            notes,
            refused: 0,
            storage_errors,
            buffer: [0; MESSAGE_BYTES_MAX],
            firmware: info.firmware,
            trials: Trials::default(),
            link_full: false,
            may_rotate: true,
            lost: None,
            configured: false,
        },
        identity,
        token: Token::default(),
        settings,
        commands,
        backlog,
        update,
        uplink: Uplink::default(),
        boots: Boots::new(hello, ends),
        keeping: Keeping::default(),
        life: Life::Running,
        state_due: now,
        started: now,
        lost_noted: false,
        unsettled: Some(Opened(log_error.or(adopted.map(RingError::Flash)))),
    })
}
