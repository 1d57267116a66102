//! The parameters that `CONFIG GET` shows and `CONFIG SET` changes while the node runs: one row
//! each. Only those that have an effect, and those that clients read to find out what they face.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use arc_swap::{ArcSwap, ArcSwapOption};
use cluster::metadata::{Entry, OnLoss};
use routing::quantity::Size;

use crate::config::ClientShare;
use crate::config::Settings;
use crate::config::check::{ARGUMENT_BYTES, LFU, QUERY_BYTES};
use crate::node::Node;
use crate::resp::Limits;
use crate::store::POLICIES;

/// The present values.
#[derive(Debug)]
pub struct Parameters {
    /// What one client may send and leave unread.
    pub limits: ArcSwap<Limits>,
    /// How many clients may be connected at once.
    pub maxclients: AtomicU64,
    /// After how many seconds an idle client is closed; 0 means never.
    pub timeout_seconds: AtomicU64,
    /// After how many seconds of silence the system probes a new connection; 0 means never.
    pub tcp_keepalive_seconds: AtomicU64,
    /// The password of the default user.
    pub requirepass: ArcSwapOption<String>,
    /// Whether clients from elsewhere are refused while there is no password.
    pub protected_mode: AtomicBool,
    /// What the buffers of all clients may take.
    pub maxmemory_clients: ArcSwap<ClientShare>,
}

impl Parameters {
    fn change_limits(&self, change: impl Fn(&mut Limits)) {
        self.limits.rcu(|limits| {
            let mut limits = **limits;
            change(&mut limits);
            limits
        });
    }

    /// The values that the process is started with.
    #[must_use]
    pub fn new(settings: &Settings) -> Parameters {
        let (limits, timings) = (&settings.limits, &settings.timings);
        Parameters {
            limits: ArcSwap::from_pointee(Limits::new(limits)),
            maxclients: (limits.maxclients as u64).into(),
            timeout_seconds: timings.client_idle.0.as_secs().into(),
            tcp_keepalive_seconds: timings.client_keepalive.0.as_secs().into(),
            requirepass: ArcSwapOption::from_pointee(settings.node.requirepass.clone()),
            protected_mode: settings.node.protected_mode.into(),
            maxmemory_clients: ArcSwap::from_pointee(settings.memory.maxmemory_clients),
        }
    }
}

/// Reads a value as `CONFIG GET` shows it.
type Get = fn(&Node) -> String;
/// Takes a new value, or says why not.
type Set = fn(&Node, &str) -> Result<(), String>;

/// What the metadata group is to decide for this value, or why it is none.
type Decision = fn(&str) -> Result<Entry, String>;

/// One parameter.
pub struct Parameter {
    /// Its name in `redis.conf`, or a name of our own.
    pub name: &'static str,
    /// Reads it.
    pub get: Get,
    /// How it is changed.
    pub change: Change,
}

/// How a parameter is changed.
#[derive(Clone, Copy)]
pub enum Change {
    /// Not while the process runs.
    Never,
    /// At once, at this node.
    Here(Set),
    /// For the whole cluster, by its metadata group.
    Everywhere(Decision),
}

const fn fixed(name: &'static str, get: Get) -> Parameter {
    Parameter {
        name,
        get,
        change: Change::Never,
    }
}

const fn changeable(name: &'static str, get: Get, set: Set) -> Parameter {
    Parameter {
        name,
        get,
        change: Change::Here(set),
    }
}

const fn of_cluster(name: &'static str, get: Get, decision: Decision) -> Parameter {
    Parameter {
        name,
        get,
        change: Change::Everywhere(decision),
    }
}

/// Every parameter, in the order of their names.
pub const PARAMETERS: &[Parameter] = &[
    fixed("appendonly", |_| "no".to_owned()),
    fixed("bind", |node| node.settings.node.bind.to_string()),
    changeable(
        "client-query-buffer-limit",
        |node| node.parameters.limits.load().query_bytes_max.to_string(),
        |node, text| {
            let bytes = bytes_within(text, QUERY_BYTES)?;
            node.parameters
                .change_limits(|limits| limits.query_bytes_max = bytes);
            Ok(())
        },
    ),
    fixed("databases", |_| "1".to_owned()),
    HASH_FIELDS,
    HASH_BYTES,
    Parameter {
        name: "hash-max-ziplist-entries",
        ..HASH_FIELDS
    },
    Parameter {
        name: "hash-max-ziplist-value",
        ..HASH_BYTES
    },
    changeable(
        "lfu-decay-time",
        |node| node.store.conditions().lfu_decay_minutes().to_string(),
        |node, text| {
            let minutes = small_within(text, LFU)?;
            node.store.conditions().set_lfu_decay_minutes(minutes);
            Ok(())
        },
    ),
    changeable(
        "lfu-log-factor",
        |node| node.store.conditions().lfu_log_factor().to_string(),
        |node, text| {
            let factor = small_within(text, LFU)?;
            node.store.conditions().set_lfu_log_factor(factor);
            Ok(())
        },
    ),
    changeable(
        "maxclients",
        |node| node.parameters.maxclients.load(Relaxed).to_string(),
        |node, text| {
            let wanted = number_within(text, 1..=u64::from(u32::MAX))?;
            let most = crate::process::clients_max();
            if wanted > most {
                // In the words of Redis.
                return Err(format!(
                    "The operating system is not able to handle the specified number of clients, \
                     try with {most}"
                ));
            }
            node.parameters.maxclients.store(wanted, Relaxed);
            Ok(())
        },
    ),
    changeable(
        "maxmemory",
        |node| node.store.maxmemory_bytes().to_string(),
        |node, text| {
            node.store
                .set_maxmemory_bytes(bytes_within(text, 0..=u64::MAX)?);
            Ok(())
        },
    ),
    changeable(
        "maxmemory-clients",
        |node| match **node.parameters.maxmemory_clients.load() {
            ClientShare::Bytes(size) => size.0.to_string(),
            share @ ClientShare::Percent(_) => share.to_string(),
        },
        |node, text| {
            let share = if text.ends_with('%') {
                let why = |_| "percentage argument must be less or equal to 100";
                text.parse().map_err(why)?
            } else {
                let bytes = memory(text).ok_or("argument must be a memory or percent value")?;
                ClientShare::Bytes(Size(bytes))
            };
            node.parameters.maxmemory_clients.store(share.into());
            Ok(())
        },
    ),
    changeable(
        "maxmemory-policy",
        |node| node.store.policy().name().to_owned(),
        |node, text| {
            let known = node.store.set_policy(text);
            let names = || POLICIES.iter().map(|policy| policy.name());
            known
                .then_some(())
                .ok_or_else(|| one_of(&names().collect::<Vec<_>>()))
        },
    ),
    changeable(
        "maxmemory-samples",
        |node| node.store.conditions().samples().to_string(),
        |node, text| {
            // More than are compared are taken as so many.
            let samples = small_within(text, 1..=i32::MAX as u32)?;
            node.store.conditions().set_samples(samples);
            Ok(())
        },
    ),
    of_cluster(
        "on-loss",
        |node| node.topology.map().state().on_loss().to_string(),
        |text| {
            let on_loss = text.to_ascii_lowercase().parse().map(Entry::OnLoss);
            on_loss.map_err(|_| one_of(&OnLoss::ALL.map(OnLoss::name)))
        },
    ),
    fixed("port", |node| node.settings.node.port.to_string()),
    changeable(
        "protected-mode",
        |node| yes_or_no(node.parameters.protected_mode.load(Relaxed)),
        |node, text| {
            let on = match text.to_ascii_lowercase().as_str() {
                "yes" => true,
                "no" => false,
                _ => return Err("argument must be 'yes' or 'no'".to_owned()),
            };
            node.parameters.protected_mode.store(on, Relaxed);
            Ok(())
        },
    ),
    changeable(
        "proto-max-bulk-len",
        |node| node.parameters.limits.load().bulk_bytes_max.to_string(),
        |node, text| {
            let bytes = bytes_within(text, ARGUMENT_BYTES)?;
            node.parameters
                .change_limits(|limits| limits.bulk_bytes_max = bytes);
            Ok(())
        },
    ),
    changeable(
        "requirepass",
        |node| {
            let password = node.parameters.requirepass.load();
            password
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default()
        },
        |node, text| {
            let password = (!text.is_empty()).then(|| text.to_owned().into());
            node.parameters.requirepass.store(password);
            Ok(())
        },
    ),
    fixed("save", |_| String::new()),
    changeable(
        "tcp-keepalive",
        |node| {
            node.parameters
                .tcp_keepalive_seconds
                .load(Relaxed)
                .to_string()
        },
        |node, text| {
            let seconds = number_within(text, 0..=i32::MAX as u64)?;
            node.parameters
                .tcp_keepalive_seconds
                .store(seconds, Relaxed);
            Ok(())
        },
    ),
    changeable(
        "timeout",
        |node| node.parameters.timeout_seconds.load(Relaxed).to_string(),
        |node, text| {
            let seconds = number_within(text, 0..=i32::MAX as u64)?;
            node.parameters.timeout_seconds.store(seconds, Relaxed);
            Ok(())
        },
    ),
];

/// Up to where hashes are packed. Each has an older name too.
const HASH_FIELDS: Parameter = changeable(
    "hash-max-listpack-entries",
    |node| node.store.limits().hash_fields.load(Relaxed).to_string(),
    |node, text| {
        let fields = number_within(text, 0..=i64::MAX as u64)?;
        let fields = usize::try_from(fields).unwrap_or(usize::MAX);
        node.store.limits().hash_fields.store(fields, Relaxed);
        Ok(())
    },
);
const HASH_BYTES: Parameter = changeable(
    "hash-max-listpack-value",
    |node| node.store.limits().hash_bytes.load(Relaxed).to_string(),
    |node, text| {
        let bytes = bytes_within(text, 0..=i64::MAX as u64)?;
        node.store.limits().hash_bytes.store(bytes, Relaxed);
        Ok(())
    },
);

fn one_of(names: &[&str]) -> String {
    let names = names.join(", ");
    format!("argument(s) must be one of the following: {names}")
}

fn yes_or_no(on: bool) -> String {
    if on { "yes" } else { "no" }.to_owned()
}

fn number_within(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    let number: i64 = text
        .parse()
        .map_err(|_| "argument couldn't be parsed into an integer".to_owned())?;
    u64::try_from(number)
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            format!(
                "argument must be between {} and {} inclusive",
                range.start(),
                range.end()
            )
        })
}

fn small_within(text: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
    let (least, most) = range.into_inner();
    let number = number_within(text, least.into()..=most.into())?;
    // It is at most `most`.
    Ok(u32::try_from(number).unwrap_or(most))
}

fn bytes_within(text: &str, range: RangeInclusive<u64>) -> Result<usize, String> {
    let bytes = memory(text).ok_or("argument must be a memory value")?;
    usize::try_from(bytes)
        .ok()
        .filter(|_| range.contains(&bytes))
        .ok_or_else(|| {
            format!(
                "argument must be between {} and {} inclusive",
                range.start(),
                range.end()
            )
        })
}

/// Bytes, as `redis.conf` writes them: `1k` is 1000, `1kb` is 1024, in any case.
fn memory(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_redis_reads_it() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("100b", Some(100)),
            ("1k", Some(1000)),
            ("1KB", Some(1024)),
            ("2mb", Some(2 << 20)),
            ("1gb", Some(1 << 30)),
            ("kb", None),
            ("-1", None),
            ("1x", None),
            ("99999999999gb", None),
        ] {
            assert_eq!(memory(text), bytes, "{text}");
        }
    }

    #[test]
    fn what_can_be_set_is_what_is_shown_afterwards() {
        let mut least = Settings::default();
        let limits = &mut least.limits;
        limits.argument_bytes_max.0 = *ARGUMENT_BYTES.start();
        limits.query_bytes_max.0 = *QUERY_BYTES.start();
        limits.maxclients = 1;
        for settings in [Settings::default(), least] {
            let node = Node::alone(settings);
            for parameter in PARAMETERS {
                let Change::Here(set) = parameter.change else {
                    continue;
                };
                let shown = (parameter.get)(&node);
                set(&node, &shown).unwrap();
                assert_eq!((parameter.get)(&node), shown, "{}", parameter.name);
            }
        }
        let names: Vec<_> = PARAMETERS.iter().map(|parameter| parameter.name).collect();
        assert!(names.is_sorted());
    }
}
