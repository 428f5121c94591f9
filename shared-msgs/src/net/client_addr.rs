//! Who counts as one client: an IPv4 address, or an IPv6 /64, since a client commonly owns its whole /64. And who as one network: an
//! IPv6 /48, for sites are given up to that much (RFC 6177), while an IPv4 address is dear enough to be a network of its own.

use std::net::IpAddr;

/// An address as bounds and throttles see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientAddr(u8, u64);

/// What one owner commonly has of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Network(u8, u64);

impl ClientAddr {
    /// The network it is in.
    pub(super) fn network(self) -> Network {
        let Self(version, bits) = self;
        Network(version, if version == 6 { bits >> 16 } else { bits })
    }
}

impl From<IpAddr> for ClientAddr {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(4, u64::from(v4.to_bits())),
            // The shift leaves 64 bits.
            IpAddr::V6(v6) => Self(6, u64::try_from(v6.to_bits() >> 64).unwrap_or(u64::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_64_is_one_client_and_a_mapped_address_is_what_it_maps() {
        let of = |text: &str| ClientAddr::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn a_slash_48_is_one_network_and_so_is_an_ipv4_address() {
        let of = |text: &str| ClientAddr::from(text.parse::<IpAddr>().unwrap()).network();
        assert_eq!(of("2001:db8::1"), of("2001:db8:0:ffff::1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
