//! Address ranges where no person sits, or where one is hidden.

use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use super::ListError;

/// Most ranges of one file.
const RANGES_MAX: usize = 1_000_000;

/// What a range is known for; a greater one is worse and wins where ranges overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NetworkClass {
    /// VPN or proxy: people who hide, not invalid in itself.
    Proxy,
    /// Declared crawlers.
    Crawler,
    /// Data centres and clouds.
    DataCentre,
    /// Named in a published fraud case.
    Fraudulent,
}

impl NetworkClass {
    const ALL: [NetworkClass; 4] =
        [NetworkClass::Fraudulent, NetworkClass::DataCentre, NetworkClass::Crawler, NetworkClass::Proxy];

    /// Stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            NetworkClass::Proxy => "proxy",
            NetworkClass::Crawler => "crawler",
            NetworkClass::DataCentre => "data_centre",
            NetworkClass::Fraudulent => "fraudulent",
        }
    }

    /// Whether traffic from here is general invalid traffic. Proxies are not: legitimate people use them.
    pub fn is_invalid(self) -> bool {
        self > NetworkClass::Proxy
    }

    /// The class of a range file, by the first word of its name.
    fn of_file(name: &str) -> NetworkClass {
        match name.split(['.', '_']).next().unwrap_or_default() {
            "methbot" => NetworkClass::Fraudulent,
            "protonvpn" | "apple-proxy" | "vpn" | "proxy" | "tor" => NetworkClass::Proxy,
            "googlebot" | "bing" | "openai" | "facebook" | "crawler" => NetworkClass::Crawler,
            _ => NetworkClass::DataCentre,
        }
    }
}

/// Ranges of reserved addresses that stand for the classes where no list is loaded: no real visitor has one.
/// Data,
/// so that a recount reads the same ranges without this code.
const BUILTIN: [(&str, &str); 2] = [
    ("datacentre.v4.txt", include_str!("../../../lists/datacentre.v4.txt")),
    ("methbot_cidr.txt", include_str!("../../../lists/methbot_cidr.txt")),
];

/// Inclusive ranges, sorted and merged.
#[derive(Clone, Debug, Default)]
struct Ranges<A>(Vec<(A, A)>);

impl<A: Copy + Ord> Ranges<A> {
    fn contains(&self, address: A) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= address);
        after.checked_sub(1).is_some_and(|at| self.0[at].1 >= address)
    }

    fn merge(&mut self) {
        self.0.sort_unstable();
        self.0.dedup_by(|next, kept| {
            let overlap = next.0 <= kept.1;
            if overlap {
                kept.1 = kept.1.max(next.1);
            }
            overlap
        });
    }
}

/// Ranges by class.
#[derive(Clone, Debug, Default)]
pub struct Networks {
    v4: [Ranges<u32>; 4],
    v6: [Ranges<u128>; 4],
}

impl Networks {
    /// The built-in ranges.
    pub fn builtin() -> Networks {
        let mut networks = Networks::default();
        for (name, text) in BUILTIN {
            let added = networks.add_text(Path::new(name), text);
            added.unwrap_or_else(|error| panic!("built-in ranges do not parse: {error}"));
        }
        networks.merge();
        networks
    }

    /// What is known of an address, the worst first. Addresses cut to their network are found by their first address: a
    /// range smaller than that network is only found if it begins there.
    pub fn class_of(&self, address: IpAddr) -> Option<NetworkClass> {
        let known = |class: &NetworkClass| match address {
            IpAddr::V4(v4) => self.v4[*class as usize].contains(v4.to_bits()),
            IpAddr::V6(v6) => self.v6[*class as usize].contains(v6.to_bits()),
        };
        NetworkClass::ALL.into_iter().find(known)
    }

    /// Number of ranges after merging.
    pub fn len(&self) -> usize {
        self.v4.iter().map(|ranges| ranges.0.len()).sum::<usize>()
            + self.v6.iter().map(|ranges| ranges.0.len()).sum::<usize>()
    }

    /// Whether there is no range at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds the CIDRs of a file, one a line, `#` for comments. [`Networks::merge`] must follow.
    pub(super) fn add_text(&mut self, path: &Path, text: &str) -> Result<(), ListError> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let class = NetworkClass::of_file(&name);
        for (index, line) in text.lines().enumerate() {
            let entry = line.split('#').next().unwrap_or_default().trim();
            if entry.is_empty() {
                continue;
            }
            if index >= RANGES_MAX {
                let what = format!("more than {RANGES_MAX} lines");
                return Err(ListError::TooLarge { path: path.to_owned(), what });
            }
            let (address, prefix) = parse_cidr(entry).ok_or_else(|| {
                let shown: String = entry.chars().take(60).collect();
                ListError::Syntax {
                    path: path.to_owned(),
                    line: index + 1,
                    what: format!("`{shown}` is no CIDR range"),
                }
            })?;
            self.add(class, address, prefix);
        }
        Ok(())
    }

    /// Sorts and joins; look-ups need it.
    pub(super) fn merge(&mut self) {
        self.v4.iter_mut().for_each(Ranges::merge);
        self.v6.iter_mut().for_each(Ranges::merge);
    }

    fn add(&mut self, class: NetworkClass, address: IpAddr, prefix: u8) {
        match address {
            IpAddr::V4(v4) => {
                let hosts = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
                let first = v4.to_bits() & !hosts;
                self.v4[class as usize].0.push((first, first | hosts));
            }
            IpAddr::V6(v6) => {
                let hosts = u128::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
                let first = Ipv6Addr::to_bits(v6) & !hosts;
                self.v6[class as usize].0.push((first, first | hosts));
            }
        }
    }
}

/// `address/prefix`, or an address alone.
fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let address: IpAddr = address.trim().parse().ok()?;
    let widest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        Some(prefix) => prefix.trim().parse().ok().filter(|prefix| *prefix <= widest)?,
        None => widest,
    };
    Some((address, prefix))
}
