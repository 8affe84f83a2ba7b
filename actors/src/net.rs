//! What comes from a device, as the platform may keep it: addresses cut to their network and texts cut to a length before
//! they enter any topic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest textual address that is looked at; a longer one is no address.
const ADDRESS_TEXT_MAX: usize = 64;

/// The network of an address: /24 of IPv4, /48 of IPv6. Nothing finer is ever written to a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpAddr);

impl Network {
    /// Reads a textual address and cuts it. `None` if it is no address.
    pub fn of(text: &str) -> Option<Network> {
        parse_address(text).map(Network::from)
    }

    /// First address of the network.
    pub fn address(self) -> IpAddr {
        self.0
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Network {
        Network(match address {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & 0xffff_ff00)),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & 0xffff_ff00)),
                None => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 80))),
            },
        })
    }
}

impl std::fmt::Display for Network {
    /// The cut address without a prefix length, as OpenRTB's `device.ip` holds it: `192.0.2.0`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The longest beginning of a text that has at most `bytes_max` bytes. Texts from outside are cut before they enter an event.
pub fn clip(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Reads a textual address; surrounding blanks are tolerated.
pub fn parse_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    (text.len() <= ADDRESS_TEXT_MAX).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!((clip("aé", 2), clip("aé", 3), clip("aé", 9), clip("é", 1)), ("a", "aé", "aé", ""));
    }

    #[test]
    fn addresses_are_cut_to_their_network() {
        let cut = |text: &str| Network::of(text).map(|n| n.to_string());
        assert_eq!(cut("192.0.2.77").as_deref(), Some("192.0.2.0"));
        assert_eq!(cut(" 192.0.2.77 ").as_deref(), Some("192.0.2.0"));
        assert_eq!(cut("::ffff:192.0.2.77").as_deref(), Some("192.0.2.0"));
        assert_eq!(cut("2001:db8:1:2::3").as_deref(), Some("2001:db8:1::"));
        assert_eq!(cut("not an address"), None);
        assert_eq!(cut(""), None);
    }
}
