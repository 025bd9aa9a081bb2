//! The name of a socket as the system has it, an address and a port: `sockaddr_in` and `sockaddr_in6`.
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Octets of the longer of the two.
const LONGEST: usize = 28;
/// Octets of the shorter.
const SHORTER: usize = 16;

/// See the module's documentation. All zeros: nobody's.
#[repr(C, align(4))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Name([u8; LONGEST]);

impl Name {
    /// Octets of it, or of the room for one.
    pub(crate) fn length(self) -> u32 {
        (if self.family() == libc::AF_INET { SHORTER } else { LONGEST }) as u32
    }

    fn family(self) -> i32 {
        let [one, two, ..] = self.0;
        i32::from(u16::from_ne_bytes([one, two]))
    }

    /// `None`: nobody's.
    pub(crate) fn address(self) -> Option<SocketAddr> {
        let port = u16::from_be_bytes(self.octets(2));
        match self.family() {
            libc::AF_INET => {
                Some(SocketAddrV4::new(Ipv4Addr::from(self.octets::<4>(4)), port).into())
            }
            libc::AF_INET6 => {
                let flow = u32::from_ne_bytes(self.octets(4));
                let scope = u32::from_ne_bytes(self.octets(24));
                let ip = Ipv6Addr::from(self.octets::<16>(8));
                Some(SocketAddrV6::new(ip, port, flow, scope).into())
            }
            _ => None,
        }
    }

    fn octets<const N: usize>(self, from: usize) -> [u8; N] {
        self.0.get(from..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }

    fn put<const N: usize>(&mut self, from: usize, octets: [u8; N]) {
        if let Some(place) = self.0.get_mut(from..from + N) {
            place.copy_from_slice(&octets);
        }
    }
}

impl From<SocketAddr> for Name {
    fn from(address: SocketAddr) -> Self {
        let mut name = Self::default();
        name.put(2, address.port().to_be_bytes());
        let family = match address {
            SocketAddr::V4(address) => {
                name.put(4, address.ip().octets());
                libc::AF_INET
            }
            SocketAddr::V6(address) => {
                name.put(4, address.flowinfo().to_ne_bytes());
                name.put(8, address.ip().octets());
                name.put(24, address.scope_id().to_ne_bytes());
                libc::AF_INET6
            }
        };
        name.put(0, (family as u16).to_ne_bytes());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_back_as_it_was() {
        for text in ["127.0.0.1:5060", "255.1.2.3:65535", "[::1]:1", "[fe80::1%7]:40000"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Name::from(address).address(), Some(address));
        }
        assert_eq!(Name::default().address(), None);
    }
}
