//! rumqttc's options and errors in the link's terms.
//!
//! Invariant: no text of ours quotes a packet, since a CONNECT holds the password.

use rumqttc::{ConnectReturnCode, ConnectionError, LastWill, MqttOptions, NetworkOptions, QoS, StateError};

use super::outbox::IN_FLIGHT_MAX;
use super::resync::{Overdue, Severity};
use super::{BrokerAddr, LinkConfig, LinkError};
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::topics::Topic;

/// A payload with its topic and headers.
const PACKET_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 1024;
/// Packet ids in use by rumqttc. Far above what we ever have under way, so that ids never collide though a broker acknowledges out of
/// order.
const PACKET_IDS: u16 = 4096;

const _: () = assert!(IN_FLIGHT_MAX * 8 < PACKET_IDS as usize, "packet ids are plentiful");

/// What a refused client id is called.
pub(super) const CLIENT_ID_REFUSED: &str = "it does not allow our client id";

pub(super) fn options(config: &LinkConfig, to: &BrokerAddr, will: Option<(Topic, Vec<u8>)>) -> MqttOptions {
    let mut options = MqttOptions::new(config.client_id.clone(), to.bracketed_host(), to.port);
    options
        .set_clean_session(true)
        .set_keep_alive(config.keep_alive)
        .set_credentials(&config.user, config.password.as_str())
        .set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX)
        .set_inflight(PACKET_IDS);
    if let Some((topic, payload)) = will {
        options.set_last_will(LastWill::new(topic.to_string(), payload, QoS::AtLeastOnce, false));
    }
    options
}

pub(super) fn network_options(config: &LinkConfig) -> NetworkOptions {
    let mut options = NetworkOptions::new();
    options.set_tcp_nodelay(true);
    options.set_connection_timeout(config.connect_timeout.as_secs());
    options
}

/// `was_up` tells a lost connection from one that never came about.
pub(super) fn link_error(error: ConnectionError, was_up: bool) -> LinkError {
    match error {
        ConnectionError::Io(error) if was_up => LinkError::Lost(error.to_string()),
        ConnectionError::Io(error) => LinkError::Unreachable(error.to_string()),
        ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => LinkError::Timeout,
        ConnectionError::ConnectionRefused(code) => refusal(code),
        ConnectionError::NotConnAck(_) => LinkError::Protocol("no CONNACK".to_owned()),
        ConnectionError::RequestsDone => LinkError::Lost("the event loop ended".to_owned()),
        ConnectionError::MqttState(error) => state_error(error),
    }
}

fn refusal(code: ConnectReturnCode) -> LinkError {
    match code {
        ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => {
            LinkError::BadCredentials
        }
        ConnectReturnCode::RefusedProtocolVersion => LinkError::Refused("it does not speak MQTT 3.1.1"),
        ConnectReturnCode::BadClientId => LinkError::Refused(CLIENT_ID_REFUSED),
        ConnectReturnCode::ServiceUnavailable => LinkError::Refused("it is not available now"),
        ConnectReturnCode::Success => LinkError::Protocol("a CONNACK of two minds".to_owned()),
    }
}

fn state_error(error: StateError) -> LinkError {
    match error {
        StateError::Io(error) | StateError::Deserialization(rumqttc::mqttbytes::Error::Io(error)) => {
            LinkError::Lost(error.to_string())
        }
        StateError::ConnectionAborted => LinkError::Lost("closed by the broker".to_owned()),
        StateError::AwaitPingResp => LinkError::Silent,
        StateError::CollisionTimeout => LinkError::Unacknowledged,
        StateError::Deserialization(error) => LinkError::Protocol(error.to_string()),
        StateError::Unsolicited(_) => LinkError::Protocol("an acknowledgement nobody waits for".to_owned()),
        StateError::InvalidState | StateError::WrongPacket | StateError::EmptySubscription => {
            LinkError::Protocol("a packet out of place".to_owned())
        }
    }
}

pub(super) fn overdue_error(overdue: Overdue) -> LinkError {
    match overdue {
        Overdue::Connect | Overdue::Suback => LinkError::Timeout,
        Overdue::Sound => LinkError::Silent,
        Overdue::Puback => LinkError::Unacknowledged,
    }
}

/// What needs an operator is not hurried.
pub(super) fn severity(error: &LinkError) -> Severity {
    match error {
        LinkError::BadCredentials
        | LinkError::Tls(_)
        | LinkError::Refused(_)
        | LinkError::SubscriptionRefused(_)
        | LinkError::Protocol(_)
        | LinkError::Session(_) => Severity::Lasting,
        LinkError::Unreachable(_)
        | LinkError::Timeout
        | LinkError::Lost(_)
        | LinkError::Silent
        | LinkError::Unacknowledged => Severity::Passing,
    }
}
