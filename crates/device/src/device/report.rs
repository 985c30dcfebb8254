//! What the device says of itself, put together from what each machine counts.

use super::Device;
use crate::platform::{Platform, Slots, Uptime};
use crate::telemetry::{RING_SAMPLES, Ring};
use core::borrow::BorrowMut;
use protocol::State;

/// How the device is.
pub(super) fn state<P: Platform + Slots, R: BorrowMut<Ring>>(device: &Device<P, R>, now: Uptime) -> State {
    let (cx, telemetry) = (&device.cx, &device.telemetry);
    let mut state = State::new(cx.firmware.clone(), device.boots.hello.boot, device.boots.hello.reset);
    state.t = cx.clock.time(now);
    state.uptime_s = (now.since(device.started) / 1000) as u32;
    state.config = device.settings.number();
    state.group_config = device.settings.group_number();
    state.clock = cx.clock.quality(now);
    state.clock_error_ms = u32::try_from(cx.clock.error_ms(now).unwrap_or(0)).unwrap_or(u32::MAX);
    state.clock_steps = cx.clock.steps();
    state.time_refused = cx.clock.refused();
    state.waiting = telemetry.held() as u32;
    state.capacity = RING_SAMPLES as u32;
    state.lost = telemetry.overflowed();
    state.missed = telemetry.missed();
    state.suppressed = telemetry.suppressed();
    state.sensor_faults = telemetry.faults();
    state.alarms = telemetry.alarms();
    state.connections = cx.session.connections;
    state.failures = cx.session.failures;
    state.last_failure = cx.session.last_failure;
    let refused = [device.identity.refused(), device.update.refused(), device.settings.refused()];
    state.refused = refused.into_iter().fold(cx.refused, u32::saturating_add);
    state.storage_errors = cx.storage_errors;
    state.log_waiting = cx.audit.waiting();
    state
}
