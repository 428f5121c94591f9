//! A broker, asked once whether it would take our credentials.
//!
//! Connects as a link does, but under a client id that nobody has. The hub's broker looks at the password first and refuses the id
//! then, so a server of ours that runs meanwhile keeps its session. Invariant: it ends within the connect timeout, and publishes nothing.

use std::pin::pin;

use rumqttc::EventLoop;

use super::tunnel::Tunnel;
use super::{LinkConfig, LinkError, vendor};

/// What follows a client id when somebody only asks whether its credentials are good. No server's id ends so: it is nobody's.
pub const PROBE_SUFFIX: &str = "?check";
/// The event loop's queue; nothing is sent.
const REQUESTS_MAX: usize = 1;

/// Asks the broker with this place in `config.brokers`.
///
/// # Errors
/// Why a link would not come about.
pub async fn probe(config: &LinkConfig, broker: usize) -> Result<(), LinkError> {
    let config = LinkConfig { client_id: format!("{}{PROBE_SUFFIX}", config.client_id), ..config.clone() };
    let tunnel = match config.tls.clone() {
        Some(tls) => Some(Tunnel::open(&config, broker, tls).await?),
        None => None,
    };
    let to = tunnel.as_ref().map_or(&config.brokers[broker], Tunnel::entrance);
    let mut eventloop = EventLoop::new(vendor::options(&config, to, None), REQUESTS_MAX);
    eventloop.set_network_options(vendor::network_options(&config));
    let mut answered = pin!(tokio::time::timeout(config.connect_timeout, eventloop.poll()));
    let answer = match tunnel {
        None => answered.await,
        Some(tunnel) => tokio::select! {
            answer = &mut answered => answer,
            carried = tunnel.run() => match carried {
                Err(error) => return Err(error),
                // The broker has closed; what it said first is on its way.
                Ok(()) => answered.await,
            },
        },
    };
    match answer {
        Err(_elapsed) => Err(LinkError::Timeout),
        Ok(Ok(_connack)) => Ok(()),
        Ok(Err(error)) => match vendor::link_error(error, false) {
            LinkError::Refused(why) if why == vendor::CLIENT_ID_REFUSED => Ok(()),
            error => Err(error),
        },
    }
}
