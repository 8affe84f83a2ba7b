//! Every key of the configuration, once: its name, type, limits, default, and what it means. The reference page, the JSON
//! Schema, the environment's names and `config show` are made from this table.

use std::time::Duration;

use crate::args;

/// What a key's text means, with its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text of so many bytes at most.
    Text(usize),
    Path,
    /// `HOST:PORT`.
    Address,
    /// `IP:PORT`.
    Socket,
    /// `http://` or `https://` and a host.
    Url,
    Flag,
    /// A whole number from, to.
    Count(u64, u64),
    /// A size from, to, bytes.
    Size(u64, u64),
    /// A duration from, to, milliseconds.
    Duration(u64, u64),
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    /// As it would be written; empty: none.
    pub default: &'static str,
    pub doc: &'static str,
    /// A SIGHUP takes a new value over.
    pub reloads: bool,
    /// Never shown.
    pub secret: bool,
}

const fn key(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, kind, default, doc, reloads: false, secret: false }
}

const fn live(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { reloads: true, ..key(name, kind, default, doc) }
}

const MIB: u64 = 1 << 20;

/// All keys, by room.
pub const KEYS: &[Key] = &[
    key(
        "data",
        Kind::Path,
        "",
        "Data directory; made if it is absent. `up` uses `bulkhead-data`, `demo` a temporary one.",
    ),
    key("partitions", Kind::Count(1, 256), "4", "Partitions of every topic of a new directory; fixed once it is made."),
    key("lists", Kind::Path, "", "Directory with lists of known agents and networks; none: the built-in lists."),
    key("instance", Kind::Text(64), "local", "Name of this process among others; without `/`."),
    key("registry_url", Kind::Url, "", "External schema registry, up to its `/subjects`; none: the embedded one."),
    key(
        "registry_listen",
        Kind::Socket,
        "",
        "Port of its own for the embedded schema registry; it is below `/registry` of the admin listener in any case.",
    ),
    key(
        "drain_timeout",
        Kind::Duration(100, 600_000),
        "10s",
        "Longest wait for a stage of a drain; what is left comes again at the next start.",
    ),
    key(
        "telemetry.endpoint",
        Kind::Url,
        "",
        "Collector that takes OTLP, without TLS: `http://HOST:4318` for HTTP, `http://HOST:4317` for gRPC; none: nothing is sent.",
    ),
    key("telemetry.grpc", Kind::Flag, "false", "Speaks gRPC to the collector, else HTTP with protobuf."),
    key("telemetry.metrics_interval", Kind::Duration(100, 600_000), "10s", "How often metrics go to the collector."),
    live(
        "telemetry.sample_one_in",
        Kind::Count(0, 1_000_000_000),
        "1000",
        "One auction in so many is traced from its bid to the ledger; 0: none. Failures and restarts are always told.",
    ),
    key(
        "kafka.session_timeout",
        Kind::Duration(1_000, 300_000),
        "10s",
        "With `--log kafka`: a process that is silent for this long loses its partitions to the others. The coordinator's own setting with the `consumer` protocol.",
    ),
    key(
        "kafka.group_protocol",
        Kind::OneOf(&["classic", "consumer"]),
        "classic",
        "How processes share partitions: `consumer` is KIP-848, for brokers of 4.0 and later.",
    ),
    key(
        "kafka.static_membership",
        Kind::Flag,
        "false",
        "A process that comes back within the session, under the same `instance`, finds its partitions as they were; the names of all processes must differ.",
    ),
    key(
        "edge.listen",
        Kind::Address,
        "127.0.0.1:8080",
        "Public edge: bid requests and tracking. If nobody asks for an address and this one is taken, any free port.",
    ),
    live("edge.public_url", Kind::Url, "", "Start of the tracking URLs given out; none: where the edge listens."),
    key(
        "edge.keys_file",
        Kind::Path,
        "",
        "Signing keys, `ID HEX` a line, the first one signs; none: `edge.keys` in the data directory, made at the first start. A SIGHUP reads the file again.",
    ),
    live("edge.body_max", Kind::Size(1 << 10, MIB / 4), "64KiB", "Bytes of a body; more is answered 413."),
    key(
        "edge.head_max",
        Kind::Size(8 << 10, MIB),
        "16KiB",
        "Bytes of a request's line and headers; more is answered 413. Holds for new connections.",
    ),
    live("edge.depth_max", Kind::Count(4, 128), "32", "Nesting of a body's JSON."),
    live(
        "edge.head_timeout",
        Kind::Duration(100, 60_000),
        "5s",
        "A request's head must be there by then; also how long a connection may be idle. Holds for new connections.",
    ),
    live("edge.body_timeout", Kind::Duration(50, 60_000), "1s", "A body must be there by then."),
    live(
        "edge.log_timeout",
        Kind::Duration(50, 60_000),
        "2s",
        "The log must have taken a report by then, else its sender is told to come again (429).",
    ),
    live("edge.connections_max", Kind::Count(1, 1_000_000), "4096", "Connections at once."),
    live("edge.connections_max_per_address", Kind::Count(1, 1_000_000), "1024", "Connections of one address at once."),
    live(
        "edge.bids_per_s",
        Kind::Count(0, 10_000_000),
        "20000",
        "Bid requests a second of one address; 0: no limit. Two seconds' worth may come at once.",
    ),
    live(
        "edge.pixels_per_s",
        Kind::Count(0, 10_000_000),
        "1000",
        "Tracking requests a second of one address; 0: no limit.",
    ),
    live(
        "edge.requests_per_s_per_key",
        Kind::Count(0, 10_000_000),
        "20000",
        "Requests a second under one `x-api-key`; 0: no limit.",
    ),
    live(
        "edge.trust_forwarded",
        Kind::Flag,
        "false",
        "Takes the last address of `x-forwarded-for` for the sender's: only behind a proxy of one's own.",
    ),
    live(
        "edge.filter_invalid_traffic",
        Kind::Flag,
        "true",
        "Refuses known programs and data centres before bidding (nbr 3, 4, 5).",
    ),
    live(
        "edge.bid_waits_for_log",
        Kind::Flag,
        "false",
        "Answers a bid only after its decision is synced: 2 to 5 ms more a request.",
    ),
    key("edge.threads", Kind::Count(1, 64), "2", "Threads of the edge's bulkhead."),
    key(
        "admin.listen",
        Kind::Address,
        "127.0.0.1:8081",
        "Admin listener. If nobody asks for an address and this one is taken, any free port.",
    ),
    Key {
        secret: true,
        ..key(
            "admin.token",
            Kind::Text(256),
            "",
            "Token for what changes something; none: a fresh one at each start, which commands of the same user find by themselves.",
        )
    },
];

/// The key of a name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

impl Key {
    /// Its name in the environment.
    pub fn env(&self) -> String {
        match self.name {
            // As the commands have always called them.
            "data" => "BULKHEAD_DATA_DIR".to_owned(),
            "edge.listen" => "BULKHEAD_LISTEN".to_owned(),
            "admin.listen" => "BULKHEAD_ADMIN".to_owned(),
            name => format!("BULKHEAD_{}", name.replace('.', "_").to_ascii_uppercase()),
        }
    }

    /// Checks a text against type and limits.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn check(&self, text: &str) -> Result<(), String> {
        match self.kind {
            Kind::Text(max) if text.is_empty() || text.len() > max => Err(format!("must have 1 to {max} bytes")),
            Kind::Text(_) if self.name == "instance" && text.contains('/') => Err("must not contain `/`".to_owned()),
            Kind::Path if text.is_empty() => Err("is empty; name a path".to_owned()),
            Kind::Text(_) | Kind::Path => Ok(()),
            Kind::Address => match text.rsplit_once(':').filter(|(host, _)| !host.is_empty()) {
                Some((_, port)) if port.parse::<u16>().is_ok() => Ok(()),
                _ => Err("is no HOST:PORT, such as 127.0.0.1:8080".to_owned()),
            },
            Kind::Socket => match text.parse::<std::net::SocketAddr>() {
                Ok(_) => Ok(()),
                Err(_) => Err("is no IP:PORT, such as 127.0.0.1:8082".to_owned()),
            },
            Kind::Url => {
                let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).unwrap_or_default();
                let is_plain = |c: char| c.is_ascii_graphic() && !"\"<>'?#".contains(c);
                match !host.is_empty() && host.chars().all(is_plain) {
                    true => Ok(()),
                    false => Err("is no URL such as https://ads.example.com".to_owned()),
                }
            }
            Kind::OneOf(words) => match words.contains(&text) {
                true => Ok(()),
                false => Err(format!("is none of {}", words.join(", "))),
            },
            Kind::Flag => match text {
                "true" | "false" => Ok(()),
                _ => Err("is neither true nor false".to_owned()),
            },
            Kind::Count(from, to) => match text.parse::<u64>() {
                Ok(number) if (from..=to).contains(&number) => Ok(()),
                Ok(number) => Err(format!("{number} is not within {from} and {to}")),
                Err(_) => Err(format!("is no whole number from {from} to {to}")),
            },
            Kind::Size(from, to) => match args::size(text).map_err(|error| error.to_string())? {
                size if (from..=to).contains(&size) => Ok(()),
                _ => Err(format!("is not within {from} and {to} bytes")),
            },
            Kind::Duration(from, to) => match args::duration(text).map_err(|error| error.to_string())?.as_millis() {
                ms if (u128::from(from)..=u128::from(to)).contains(&ms) => Ok(()),
                _ => Err(format!("is not within {from} and {to} ms")),
            },
        }
    }
}

/// Texts that were checked, as values.
pub fn count(text: &str) -> u64 {
    text.parse().unwrap_or_default()
}

pub fn size(text: &str) -> usize {
    args::size(text).map_or(0, |size| usize::try_from(size).unwrap_or(usize::MAX))
}

pub fn duration(text: &str) -> Duration {
    args::duration(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_defaults_are_allowed() {
        for (index, key) in KEYS.iter().enumerate() {
            assert!(
                KEYS[..index].iter().all(|other| other.name != key.name && other.env() != key.env()),
                "{}",
                key.name
            );
            assert!(key.default.is_empty() || key.check(key.default).is_ok(), "{}", key.name);
            assert!(key.doc.ends_with('.'), "{}", key.name);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let refused = |name: &str, text: &str| find(name).expect("a key").check(text).expect_err("refused");
        assert_eq!(refused("partitions", "0"), "0 is not within 1 and 256");
        assert!(refused("partitions", "many").contains("whole number"));
        assert!(refused("instance", "a/b").contains('/'));
        assert!(refused("edge.listen", "8080").contains("HOST:PORT"));
        assert!(refused("edge.public_url", "ads.example").contains("https://"));
        assert!(refused("edge.public_url", "https://a\"b").contains("https://"));
        assert!(refused("edge.body_max", "1MiB").contains("within"));
        assert!(refused("edge.body_timeout", "1").contains("no duration"));
        assert!(refused("edge.trust_forwarded", "yes").contains("true"));
        assert_eq!(refused("kafka.group_protocol", "eager"), "is none of classic, consumer");
    }
}
