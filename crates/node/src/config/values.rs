//! Values that are checked as they are read: lists of seeds, log filters, names of a choice.

use std::fmt;
use std::str::FromStr;

use cluster::metadata::OnLoss;
use routing::quantity::Size;
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use tracing_subscriber::EnvFilter;

/// The most seeds.
const SEEDS_MAX: usize = 1_024;
/// The longest host name.
const HOST_BYTES_MAX: usize = 253;
/// The peers' port of a seed that names none.
const PEER_PORT: u16 = 16_379;

/// Where other nodes may be met: `host:port` each, the host a name or an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seeds(Vec<String>);

impl Seeds {
    /// The seeds, each as `host:port`.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.0
    }

    fn push(&mut self, text: &str) -> Result<(), String> {
        if self.0.len() == SEEDS_MAX {
            return Err(format!("more than {SEEDS_MAX} seeds"));
        }
        self.0.push(seed_address(text)?);
        Ok(())
    }
}

/// `host`, `host:port`, `[v6]:port`, `[v6]` or a bare IPv6 address, with the default port added.
fn seed_address(text: &str) -> Result<String, String> {
    let text = text.trim();
    let wrong = || format!("a seed is HOST or HOST:PORT, not {text:?}");
    let bare_v6 = text.parse::<std::net::Ipv6Addr>().is_ok();
    let (host, port) = match text.rsplit_once(':') {
        _ if bare_v6 => (format!("[{text}]"), None),
        Some((host, port)) if !text.ends_with(']') => (host.to_owned(), Some(port)),
        _ => (text.to_owned(), None),
    };
    let port = match port {
        None => PEER_PORT,
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(wrong)?,
    };
    let v6 = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let fits = match v6 {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_host(&host),
    };
    if fits {
        Ok(format!("{host}:{port}"))
    } else {
        Err(wrong())
    }
}

/// Whether the text can be a host's name or IPv4 address.
pub(super) fn is_host(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (1..=HOST_BYTES_MAX).contains(&text.len()) && text.chars().all(fits)
}

impl Serialize for Seeds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Seeds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Seeds, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Seeds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of seeds")
            }

            /// The environment and flags have no lists: commas part what is one text there.
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Seeds, E> {
                let mut seeds = Seeds::default();
                for seed in text.split(',').filter(|seed| !seed.trim().is_empty()) {
                    seeds.push(seed).map_err(E::custom)?;
                }
                Ok(seeds)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Seeds, A::Error> {
                let mut seeds = Seeds::default();
                while let Some(seed) = list.next_element::<String>()? {
                    seeds.push(&seed).map_err(de::Error::custom)?;
                }
                Ok(seeds)
            }
        }
        deserializer.deserialize_any(List)
    }
}

/// What becomes of slots that may have lost something, by its name.
pub(super) fn on_loss<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<OnLoss>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(de::Error::custom))
        .transpose()
}

/// Which events are logged: a level, or directives like `info,cluster=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// The filter for a subscriber. The Raft library is silent unless it is named: what matters of
    /// it, the metadata group says itself.
    #[must_use]
    pub fn to_env_filter(&self) -> EnvFilter {
        let filter = if self.0.contains("openraft") {
            self.0.clone()
        } else {
            format!("{},openraft=off", self.0)
        };
        EnvFilter::builder()
            .parse(filter)
            .expect("it was parsed when it was read")
    }
}

impl Default for LogFilter {
    fn default() -> LogFilter {
        LogFilter("info".to_owned())
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<LogFilter, String> {
        let levels = ["trace", "debug", "info", "warn", "error", "off"];
        let known = |directive: &str| {
            let level = directive.rsplit('=').next().unwrap_or(directive).trim();
            levels.contains(&level.to_ascii_lowercase().as_str())
        };
        let parsed = EnvFilter::builder().parse(text);
        match text.split(',').find(|directive| !known(directive)) {
            None if parsed.is_ok() => Ok(LogFilter(text.to_owned())),
            wrong => Err(format!(
                "a filter is a level ({}) or a list like \"info,cluster=debug\", not {:?}",
                levels.join(", "),
                wrong.unwrap_or(text)
            )),
        }
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A choice between names, read with an error that lists them.
macro_rules! choice {
    (
        $(#[$about:meta])* $type:ident {
            $($(#[$variant_about:meta])* $variant:ident = $name:literal),+ $(,)?
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $type {
            $($(#[$variant_about])* $variant),+
        }

        impl FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<$type, String> {
                match text {
                    $($name => Ok($type::$variant),)+
                    _ => Err(format!(
                        "unknown word {text:?}, expected one of: {}",
                        [$($name),+].join(", ")
                    )),
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($type::$variant => $name),+ })
            }
        }

        as_text!($type);
    };
}

/// Read from text, written as text.
macro_rules! as_text {
    ($type:ident) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(de::Error::custom)
            }
        }
    };
}

as_text!(LogFilter);

choice! {
    /// The form of the log.
    LogFormat {
        /// For people.
        #[default]
        Text = "text",
        /// For programs: one object a line.
        Json = "json",
    }
}

choice! {
    /// What happens when the memory for data is used up.
    EvictionPolicy {
        /// Writes that add data are refused.
        #[default]
        NoEviction = "noeviction",
        /// The entries that were used least recently give way.
        AllkeysLru = "allkeys-lru",
        /// Those that were used least often of late.
        AllkeysLfu = "allkeys-lfu",
        /// Those that came first.
        AllkeysFifo = "allkeys-fifo",
        /// Any.
        AllkeysRandom = "allkeys-random",
        /// Of those that expire, the ones that were used least recently.
        VolatileLru = "volatile-lru",
        /// Of those that expire, the ones that were used least often of late.
        VolatileLfu = "volatile-lfu",
        /// Of those that expire, the ones that came first.
        VolatileFifo = "volatile-fifo",
        /// Any of those that expire.
        VolatileRandom = "volatile-random",
        /// Those that expire soonest.
        VolatileTtl = "volatile-ttl",
    }
}

/// How much the buffers of all clients may take together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientShare {
    /// So many bytes; 0 sets no bound.
    Bytes(Size),
    /// So many hundredths of `maxmemory`.
    Percent(u8),
}

impl FromStr for ClientShare {
    type Err = String;

    fn from_str(text: &str) -> Result<ClientShare, String> {
        let Some(percent) = text.trim().strip_suffix('%') else {
            return text.parse().map(ClientShare::Bytes);
        };
        let percent = percent.trim_end().parse().ok();
        let percent = percent.filter(|percent| (1..=100).contains(percent));
        let wrong = || format!("a share is written like \"5%\", up to 100%, not {text:?}");
        percent.map(ClientShare::Percent).ok_or_else(wrong)
    }
}

impl fmt::Display for ClientShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientShare::Bytes(size) => size.fmt(f),
            ClientShare::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

as_text!(ClientShare);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gets_the_peers_port() {
        let address = |text| seed_address(text).unwrap();
        assert_eq!(address("node-0.quorate"), "node-0.quorate:16379");
        assert_eq!(address("10.0.0.1:17001"), "10.0.0.1:17001");
        assert_eq!(address("::1"), "[::1]:16379");
        assert_eq!(address("[::1]"), "[::1]:16379");
        assert_eq!(address("[::1]:17001"), "[::1]:17001");
        for wrong in [
            "",
            "host:",
            "host:port",
            "host:0",
            "a b",
            "http://a:1",
            "[zz]:1",
            ":1",
        ] {
            assert!(seed_address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_filter_is_a_level_or_directives() {
        for right in ["info", "off", "warn,cluster=debug", "INFO"] {
            assert!(right.parse::<LogFilter>().is_ok(), "{right}");
        }
        let wrong = "info,cluster=loud".parse::<LogFilter>().unwrap_err();
        assert!(
            wrong.contains("cluster=loud") && wrong.contains("debug"),
            "{wrong}"
        );
    }
}
