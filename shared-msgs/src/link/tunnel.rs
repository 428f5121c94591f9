//! TLS for rumqttc, whose own would bring a certificate library with open advisories: a socket of this process on loopback, from
//! which bytes go to the broker through our TLS.
//!
//! Owns one attempt's way out; knows of MQTT only how a CONNECT looks. Invariants: only who shows the link's own password gets through,
//! so nobody else on this machine borrows our certificate; the broker's name is checked before it is told anything.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::Packet;
use rumqttc::mqttbytes;
use subtle::ConstantTimeEq as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::rustls;
use zeroize::Zeroizing;

use super::{BrokerAddr, LinkConfig, LinkError};
use crate::net::tls::ClientTls;

/// Our own CONNECT is there at once; whoever is slower is somebody else.
const HELLO_TIME: Duration = Duration::from_millis(250);
/// With the largest will and password.
const CONNECT_BYTES_MAX: usize = 64 * 1024;

/// A way to one broker, for one connection.
pub(super) struct Tunnel {
    near: TcpListener,
    entrance: BrokerAddr,
    broker: BrokerAddr,
    tls: ClientTls,
    password: Zeroizing<String>,
}

impl Tunnel {
    pub(super) async fn open(config: &LinkConfig, broker: usize, tls: ClientTls) -> Result<Self, LinkError> {
        let failed = |error: io::Error| LinkError::Unreachable(format!("no socket on loopback: {error}"));
        let near = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.map_err(failed)?;
        let entrance = near.local_addr().map_err(failed)?.into();
        let (broker, password) = (config.brokers[broker].clone(), config.password.clone());
        Ok(Self { near, entrance, broker, tls, password })
    }

    /// Where rumqttc is to connect.
    pub(super) fn entrance(&self) -> &BrokerAddr {
        &self.entrance
    }

    /// Carries one connection to its end. An error says why there was none, or why it broke.
    pub(super) async fn run(self) -> Result<(), LinkError> {
        let (mut near, hello) = self.our_own().await?;
        let BrokerAddr { host, port } = &self.broker;
        let unreachable = |error: io::Error| LinkError::Unreachable(error.to_string());
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let mut far =
            self.tls.connect(host, stream).await.map_err(|error| LinkError::Tls(error.to_string()))?;
        far.write_all(&hello).await.map_err(|error| broken(&error))?;
        copy_bidirectional(&mut near, &mut far).await.map_err(|error| broken(&error))?;
        Ok(())
    }

    /// The connection of our own client, and what it has said so far.
    async fn our_own(&self) -> Result<(TcpStream, Zeroizing<Vec<u8>>), LinkError> {
        loop {
            let (mut stream, _) = self.near.accept().await.map_err(|error| broken(&error))?;
            if let Ok(Some(hello)) = timeout(HELLO_TIME, self.hello(&mut stream)).await {
                stream.set_nodelay(true).map_err(|error| broken(&error))?;
                return Ok((stream, hello));
            }
            tracing::warn!(target: "link", "link.foreign_client");
        }
    }

    async fn hello(&self, stream: &mut TcpStream) -> Option<Zeroizing<Vec<u8>>> {
        let mut said = Zeroizing::new(Vec::new());
        loop {
            if !matches!(stream.read_buf(&mut *said).await, Ok(1..)) {
                return None;
            }
            match Packet::read(&mut BytesMut::from(said.as_slice()), CONNECT_BYTES_MAX) {
                Ok(Packet::Connect(connect)) => {
                    let shown = connect.login.map(|login| Zeroizing::new(login.password))?;
                    return bool::from(shown.as_bytes().ct_eq(self.password.as_bytes())).then_some(said);
                }
                Err(mqttbytes::Error::InsufficientBytes(_)) if said.len() < CONNECT_BYTES_MAX => {}
                Ok(_) | Err(_) => return None,
            }
        }
    }
}

/// A broker that wants a certificate of ours says so only after the handshake.
fn broken(error: &io::Error) -> LinkError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if inner.is_some() { LinkError::Tls(error.to_string()) } else { LinkError::Lost(error.to_string()) }
}
