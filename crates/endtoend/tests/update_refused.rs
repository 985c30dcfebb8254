//! What a device does not take from a broker that is not to be trusted, and which firmware it gets rid of by itself: each named,
//! and reported. R-FW-AUTHORISED, R-FW-HEALTH, R-UPDATE-TRUST.

use device::Note;
use endtoend::client::{Client, options};
use endtoend::dut::Progress;
use endtoend::operator::{Book, Operator};
use endtoend::pki::client_config;
use endtoend::programs;
use endtoend::vendor::{BODY_BYTES, FIRST, Vendor, body};
use protocol::blocks::BLOCK_BYTES;
use protocol::firmware::{FirmwareState, FirmwareTopic, Phase};
use protocol::{DeviceId, ResetCause, UpdateFault};
use simulator::product::product;
use simulator::slots::{Booted, Misbehaviour};
use std::fs;

const NEW: &str = "1.1.0";

/// Blocks that a device fetches at once.
const WINDOW: usize = 4;

/// Whoever has the broker in hand: what he puts there is what devices get.
async fn hostile(vendor: &Vendor) -> Client {
    let tls = client_config(vendor.pki.client("operator.firmware"));
    Client::connect(options("operator.firmware", vendor.broker.port(), tls))
        .await
        .expect("the operator's program gets in")
}

fn said(book: &Book, wanted: impl Fn(&FirmwareState) -> bool) -> bool {
    book.firmware.get(&DeviceId::new("dut-1").expect("an id")).is_some_and(wanted)
}

fn confirmed(progress: &Progress) -> bool {
    progress.updates.iter().any(|note| matches!(note, Note::UpdateConfirmed { .. }))
}

fn refused(progress: &Progress, fault: UpdateFault) -> bool {
    progress.updates.contains(&Note::UpdateRefused(fault))
}

#[tokio::test]
async fn an_altered_manifest_is_refused_by_name_and_changes_nothing() {
    let vendor = Vendor::new(programs!()).await;
    let mut operator = Operator::start(&vendor.pki, vendor.broker.port()).await;
    let release = vendor.release(NEW, &body(NEW, BODY_BYTES), "").await;
    vendor.publish(&release).await;
    let good = fs::read(vendor.site.path(&release).join("manifest.suit")).unwrap();
    let topic = FirmwareTopic::Manifest(product(None).class).encode();
    let mut hostile = hostile(&vendor).await;
    let mut altered = good.clone();
    *altered.last_mut().unwrap() ^= 1;
    hostile.publish_bytes(&topic, &altered, true).await.unwrap();

    let mut running = vendor.device("dut-1", vendor.broker.port()).start();
    let progress = running
        .until(|progress| progress.updates.iter().any(|note| matches!(note, Note::UpdateRefused(_))))
        .await;
    assert!(refused(&progress, UpdateFault::ManifestDigest), "{:?}", progress.updates);
    // Its end is cut off; and one of another authority, which is as well made as ours.
    hostile.publish_bytes(&topic, &good[..good.len() - 1], true).await.unwrap();
    running.until(|progress| refused(progress, UpdateFault::Malformed)).await;
    vendor.site.sensorctl("authority", "authority init --out foreign").await;
    let foreign = "--image image-1.1.0.bin --authority foreign --board linux --out forged --image-key image-key/image.pub";
    vendor.site.sensorctl("sign", &format!("firmware sign {foreign}")).await;
    let forged = fs::read(vendor.site.path("forged/manifest.suit")).unwrap();
    hostile.publish_bytes(&topic, &forged, true).await.unwrap();
    let progress = running.until(|progress| refused(progress, UpdateFault::UnknownKey)).await;
    assert_eq!(progress.booted, [Booted::Again(FIRST.parse().unwrap())], "it never restarted");
    assert_eq!(progress.fetches, [""; 0], "it asked for no block");
    operator.until("the refusals", |book| said(book, |state| state.refused >= 3)).await;
    // The true one is still taken.
    hostile.publish_bytes(&topic, &good, true).await.unwrap();
    running.until(confirmed).await;
    running.stop().await;
}

#[tokio::test]
async fn an_altered_block_is_refused_by_name_and_costs_its_window_each_time_at_most() {
    let vendor = Vendor::new(programs!()).await;
    let mut operator = Operator::start(&vendor.pki, vendor.broker.port()).await;
    let release = vendor.release(NEW, &body(NEW, BODY_BYTES), "").await;
    vendor.publish(&release).await;
    let block = FirmwareTopic::Block(vendor.payloads(&release)[0], 17).encode();
    let mut hostile = hostile(&vendor).await;
    hostile.subscribe(&block).await.unwrap();
    let good = hostile.next().await.unwrap().1;
    let mut altered = good.clone();
    altered[100] ^= 1;
    hostile.publish_bytes(&block, &altered, true).await.unwrap();

    let mut dut = vendor.device("dut-1", vendor.broker.port());
    // Nothing is lost here, so whatever is asked for again is so because of the block, however slow the machine is.
    (dut.policy.connect_timeout_ms, dut.policy.answer_timeout_ms) = (60_000, 60_000);
    let mut running = dut.start();
    operator
        .until("the altered block", |book| {
            said(book, |state| state.fault == Some(UpdateFault::BlockAltered) && state.blocks_refused > 0)
        })
        .await;
    assert_eq!(running.progress().booted.len(), 1, "it never restarted");
    hostile.publish_bytes(&block, &good, true).await.unwrap();
    let progress = running.until(confirmed).await;
    let asked = progress.fetches.iter().filter(|topic| **topic == *block).count();
    let (others, blocks) = (progress.fetches.len() - asked, BODY_BYTES / BLOCK_BYTES + 1);
    assert_eq!(progress.connections, 2, "{:?}", progress.failures);
    assert!(
        others <= blocks + asked * (WINDOW - 1),
        "{others} requests for the other {blocks} blocks, {asked} for it"
    );
    running.stop().await;
}

/// Publishes firmware that is broken in this way and waits until the device is back; gives what it did meanwhile.
async fn gets_rid_of(misbehaviour: Misbehaviour, faults: &[UpdateFault]) -> Progress {
    let vendor = Vendor::new(programs!()).await;
    let mut operator = Operator::start(&vendor.pki, vendor.broker.port()).await;
    let mut bad = misbehaviour.body().into_bytes();
    bad.extend(body(NEW, BODY_BYTES));
    let release = vendor.release(NEW, &bad, "").await;
    let mut dut = vendor.device("dut-1", vendor.broker.port());
    (dut.pace.trial_ms, dut.pace.trial_deadline_ms) = (600, 3_000);
    let mut running = dut.start();
    vendor.publish(&release).await;
    let (first, new) = (FIRST.parse().unwrap(), NEW.parse().unwrap());
    running.until(|progress| progress.booted.contains(&Booted::Swapped(new))).await;
    running.until(|progress| progress.booted.contains(&Booted::Reverted(first)) && progress.connected).await;
    operator
        .until("the reason", |book| {
            said(book, |state| {
                state.fault.is_some_and(|fault| faults.contains(&fault))
                    && state.version.as_str() == FIRST
                    && state.attempts > 0
                    && state.phase == Phase::Failed
            })
        })
        .await;
    let progress = running.progress();
    running.stop().await;
    progress
}

#[tokio::test]
async fn firmware_that_hangs_at_its_start_is_gone_after_the_watchdog() {
    let progress = gets_rid_of(Misbehaviour::Hang, &[UpdateFault::Reverted]).await;
    assert!(progress.resets.contains(&ResetCause::Watchdog), "{:?}", progress.resets);
}

#[tokio::test]
async fn firmware_that_dies_in_its_trial_is_gone_after_it() {
    let progress = gets_rid_of(Misbehaviour::Panic, &[UpdateFault::Reverted]).await;
    assert!(progress.resets.contains(&ResetCause::Fault), "{:?}", progress.resets);
}

#[tokio::test]
async fn firmware_that_reaches_nobody_goes_back_by_itself() {
    gets_rid_of(Misbehaviour::NoNetwork, &[UpdateFault::NoService]).await;
}

#[tokio::test]
async fn firmware_whose_sensor_is_dead_goes_back_by_itself() {
    gets_rid_of(Misbehaviour::NoSensor, &[UpdateFault::NoSensor]).await;
}

#[tokio::test]
async fn firmware_that_never_confirms_itself_goes_back_by_itself() {
    // Nothing is wrong with it but that; so the reason is the last thing that was, which is how it was before it connected.
    gets_rid_of(Misbehaviour::NeverConfirm, &[UpdateFault::Reverted, UpdateFault::NoService]).await;
}

#[tokio::test]
async fn a_bad_release_is_tried_twice_and_then_left_alone() {
    let vendor = Vendor::new(programs!()).await;
    let mut operator = Operator::start(&vendor.pki, vendor.broker.port()).await;
    let mut bad = Misbehaviour::Panic.body().into_bytes();
    bad.extend(body(NEW, 10_000));
    let release = vendor.release(NEW, &bad, "").await;
    let mut dut = vendor.device("dut-1", vendor.broker.port());
    (dut.pace.trial_ms, dut.pace.trial_deadline_ms) = (200, 400);
    let mut running = dut.start();
    vendor.publish(&release).await;
    operator
        .until("the end of its patience", |book| {
            said(book, |state| {
                state.attempts == 2 && state.phase == Phase::Failed && state.version.as_str() == FIRST
            })
        })
        .await;
    let new = Booted::Swapped(NEW.parse().unwrap());
    let tries = |progress: &Progress| progress.booted.iter().filter(|booted| **booted == new).count();
    assert_eq!(tries(&running.progress()), 2);
    // A better one is taken at once.
    let release = vendor.release("1.2.0", &body("1.2.0", 10_000), "").await;
    vendor.publish(&release).await;
    let progress = running.until(confirmed).await;
    assert_eq!(tries(&progress), 2);
    running.stop().await;
}
