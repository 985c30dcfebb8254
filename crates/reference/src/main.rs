//! The reference that measurements are made against: the same MQTT library over the same TLS, and nothing else. Each
//! client publishes at a fixed period, with QoS 1, and waits for its acknowledgements; it stores nothing and checks
//! nothing.

use anyhow::{Context, Result};
use clap::Parser;
use protocol::topic::{TopicText, topic};
use protocol::{Channel, EpochMillis};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS, TlsConfiguration, Transport};
use simulator::fleet::Fleet;
use simulator::folder::Folder;
use simulator::tls::{self, DeviceClock};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Publishes with the bare MQTT library, as a reference for measurements.
#[derive(Parser)]
struct Arguments {
    /// Folder whose sub-folders are enrolled devices
    #[arg(long, value_name = "DIR")]
    devices: PathBuf,
    /// Stop after this many seconds
    #[arg(long)]
    seconds: u64,
    /// Milliseconds between two publishes of a client
    #[arg(long)]
    period_ms: u64,
    /// Bytes of each payload; without it one sample as self-describing JSON
    #[arg(long)]
    payload_bytes: Option<usize>,
}

/// What a plain client sends for one sample: names, units by convention, a time as text.
fn plain_sample(number: u64) -> Vec<u8> {
    let drift = (number % 100) as f64 / 100.0;
    serde_json::json!({
        "timestamp": "2026-11-21T09:00:00.000Z",
        "temperature": 21.25 + drift,
        "humidity": 45.12 + drift,
        "pressure": 1013.25 + drift,
    })
    .to_string()
    .into_bytes()
}

/// One client until its connection breaks.
async fn client(folder: Folder, arguments: Arc<Arguments>, acknowledged: Arc<AtomicU64>) -> Result<()> {
    let clock = DeviceClock::default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    clock.set(EpochMillis(u64::try_from(now.as_millis())?));
    let tls = tls::client_config(folder.credentials, clock)?;
    let (host, port) = folder.configuration.service();
    let id = folder.configuration.id.as_str();
    let mut options = MqttOptions::new(id, host, port);
    options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(tls))));
    options.set_keep_alive(Duration::from_secs(60));
    let (client, mut event_loop) = AsyncClient::new(options, 16);
    let topic = topic(&folder.configuration.id, Channel::Telemetry);
    // In a task of its own: an event loop that is dropped while it connects leaves the broker with half a client.
    let publisher = tokio::spawn(publish(client, topic, arguments));
    let ended = loop {
        match event_loop.poll().await {
            Ok(Event::Incoming(Packet::PubAck(_))) => {
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    publisher.abort();
    Err(ended.into())
}

/// Publishes at the fixed period for as long as the client takes it.
async fn publish(client: AsyncClient, topic: TopicText, arguments: Arc<Arguments>) {
    let mut tick = tokio::time::interval(Duration::from_millis(arguments.period_ms));
    for number in 0.. {
        tick.tick().await;
        let payload = arguments.payload_bytes.map_or_else(|| plain_sample(number), |len| vec![b'x'; len]);
        if client.publish(topic.as_str(), QoS::AtLeastOnce, false, payload).await.is_err() {
            // The event loop has ended, and says why.
            break;
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arc::new(Arguments::parse());
    let acknowledged = Arc::new(AtomicU64::new(0));
    let clients = Fleet::load(&arguments.devices)?.into_devices();
    let count = clients.len();
    let before = simulator::fleet::cpu_seconds();
    let mut running = tokio::task::JoinSet::new();
    for folder in clients {
        running.spawn(client(folder, arguments.clone(), acknowledged.clone()));
    }
    tokio::select! {
        ended = running.join_next() => ended.context("there is no client")???,
        () = tokio::time::sleep(Duration::from_secs(arguments.seconds)) => {}
    }
    let result = serde_json::json!({
        "devices": count,
        "messages": acknowledged.load(Ordering::Relaxed),
        "cpu_seconds": simulator::fleet::cpu_seconds() - before,
    });
    println!("{result}");
    Ok(())
}
