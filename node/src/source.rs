//! Machines, as they are told apart when some are too many.

use std::net::{IpAddr, Ipv6Addr};

/// A machine: an IPv4 address, or the 64 bits of an IPv6 address that its owner cannot choose (a site has all addresses under
/// them).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let mut octets = address.octets();
                octets.iter_mut().skip(8).for_each(|octet| *octet = 0);
                IpAddr::V6(octets.into())
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl Source {
    /// Whether it is this machine.
    #[must_use]
    pub fn is_loopback(self) -> bool {
        self.0.is_loopback() || self.0 == Self::from(IpAddr::from(Ipv6Addr::LOCALHOST)).0
    }
}
