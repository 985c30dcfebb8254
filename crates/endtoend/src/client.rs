//! A bare MQTT client, for whoever is not a device: an attacker, an operator for a moment. Owns one connection and
//! never opens another: what ends it is an error.

use crate::{HOST, PATIENCE};
use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, Packet, QoS, SubscribeReasonCode,
    TlsConfiguration, Transport,
};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;

/// A message: topic and payload.
pub type Message = (String, Vec<u8>);

/// A connected client.
pub struct Client {
    requests: AsyncClient,
    events: EventLoop,
    messages: VecDeque<Message>,
    /// True where the broker had kept a session.
    pub session_present: bool,
}

/// How to reach a broker over TLS as `client_id`; change it at will before [`Client::connect`].
pub fn options(client_id: &str, port: u16, tls: Arc<ClientConfig>) -> MqttOptions {
    let mut options = MqttOptions::new(client_id, HOST, port);
    options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls)));
    options.set_max_packet_size(64 * 1024, 64 * 1024);
    options
}

impl Client {
    /// Connects; done when CONNACK with return code 0 has come.
    pub async fn connect(options: MqttOptions) -> Result<Self, ConnectionError> {
        let (requests, events) = AsyncClient::new(options, 64);
        let mut client = Self { requests, events, messages: VecDeque::new(), session_present: false };
        client.session_present = client
            .until(|packet| if let Packet::ConnAck(ack) = packet { Some(ack.session_present) } else { None })
            .await?;
        Ok(client)
    }

    /// Publishes with QoS 1 and waits for PUBACK, which says nothing of whether anybody gets it.
    pub async fn publish(&mut self, topic: &str, payload: &str, retain: bool) -> Result<(), ConnectionError> {
        self.publish_bytes(topic, payload.as_bytes(), retain).await
    }

    /// The same with any payload.
    pub async fn publish_bytes(
        &mut self,
        topic: &str,
        payload: &[u8],
        retain: bool,
    ) -> Result<(), ConnectionError> {
        self.requests.try_publish(topic, QoS::AtLeastOnce, retain, payload).expect("room for a request");
        self.until(|packet| matches!(packet, Packet::PubAck(_)).then_some(())).await
    }

    /// Subscribes with QoS 1; true where the broker granted it.
    pub async fn subscribe(&mut self, filter: &str) -> Result<bool, ConnectionError> {
        self.requests.try_subscribe(filter, QoS::AtLeastOnce).expect("room for a request");
        let granted = |code: &SubscribeReasonCode| *code != SubscribeReasonCode::Failure;
        self.until(|packet| match packet {
            Packet::SubAck(ack) => Some(ack.return_codes.iter().all(granted)),
            _ => None,
        })
        .await
    }

    /// The next message that comes, or has come.
    pub async fn next(&mut self) -> Result<Message, ConnectionError> {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return Ok(message);
            }
            self.until(|packet| matches!(packet, Packet::Publish(_)).then_some(())).await?;
        }
    }

    /// Everything that came until `payload` did, without that.
    pub async fn messages_before(&mut self, payload: &str) -> Result<Vec<Message>, ConnectionError> {
        let mut before = Vec::new();
        loop {
            while let Some(message) = self.messages.pop_front() {
                if message.1 == payload.as_bytes() {
                    return Ok(before);
                }
                before.push(message);
            }
            self.until(|packet| matches!(packet, Packet::Publish(_)).then_some(())).await?;
        }
    }

    /// Says goodbye, so that the broker keeps or forgets the session as agreed and sends no last will.
    pub async fn disconnect(mut self) {
        self.requests.try_disconnect().expect("room for a request");
        while let Ok(event) = self.events.poll().await {
            if event == Event::Outgoing(rumqttc::Outgoing::Disconnect) {
                break;
            }
        }
    }

    /// Takes packets in until `wanted` finds what it looks for; messages are kept.
    async fn until<T>(&mut self, wanted: impl Fn(&Packet) -> Option<T>) -> Result<T, ConnectionError> {
        loop {
            let event = timeout(PATIENCE, self.events.poll()).await.expect("the broker answers in time")?;
            let Event::Incoming(packet) = event else { continue };
            if let Packet::Publish(message) = &packet {
                self.messages.push_back((message.topic.clone(), message.payload.to_vec()));
            }
            if let Some(found) = wanted(&packet) {
                return Ok(found);
            }
        }
    }
}
