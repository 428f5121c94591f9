//! A broker, asked once whether it would take our credentials.
//!
//! Connects as a link does, but under a client id that nobody has. The hub's broker looks at the password first and refuses the id
//! then, so a server of ours that runs meanwhile keeps its session. Invariant: it ends within the connect timeout, and publishes nothing.

use rumqttc::EventLoop;

use super::{LinkConfig, LinkError, vendor};

/// What the end of a server's id can never be, so that it is nobody's.
const NOBODY: &str = "?check";
/// The event loop's queue; nothing is sent.
const REQUESTS_MAX: usize = 1;

/// Asks the broker with this place in `config.brokers`.
///
/// # Errors
/// Why a link would not come about.
pub async fn probe(config: &LinkConfig, broker: usize) -> Result<(), LinkError> {
    let config = LinkConfig { client_id: format!("{}{NOBODY}", config.client_id), ..config.clone() };
    let mut eventloop = EventLoop::new(vendor::options(&config, broker, None), REQUESTS_MAX);
    eventloop.set_network_options(vendor::network_options(&config));
    let answer = tokio::time::timeout(config.connect_timeout, eventloop.poll()).await;
    match answer {
        Err(_elapsed) => Err(LinkError::Timeout),
        Ok(Ok(_connack)) => Ok(()),
        Ok(Err(error)) => match vendor::link_error(error, false) {
            LinkError::Refused(why) if why == vendor::CLIENT_ID_REFUSED => Ok(()),
            error => Err(error),
        },
    }
}
