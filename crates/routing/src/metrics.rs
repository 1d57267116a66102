//! What the cache modes count, through the `metrics` facade. Handles are made once a store.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Unit};

/// The handles of one node's cache modes.
pub(crate) struct Metrics {
    dirty_bytes: Gauge,
    doubts: Gauge,
    stores: RefCell<BTreeMap<String, Store>>,
}

struct Store {
    loads: Counter,
    joined: Counter,
    settled: Counter,
    flush_batches: Counter,
    flush_rows: Counter,
    flush_seconds: Histogram,
    seconds: Histogram,
    errors: Counter,
    foreign_stamps: Counter,
}

/// Tells an exporter what each metric means. Called once, after the recorder is installed.
pub fn describe() {
    metrics::describe_gauge!(
        "quorate_dirty_bytes",
        Unit::Bytes,
        "Bytes that the databases lack, in the slots that this node leads."
    );
    metrics::describe_gauge!(
        "quorate_doubts",
        "Keys in doubt that this node settles in the background."
    );
    metrics::describe_counter!("quorate_store_loads_total", "Keys read from the store.");
    metrics::describe_counter!(
        "quorate_store_loads_joined_total",
        "Misses that waited for the load of another client."
    );
    metrics::describe_counter!(
        "quorate_store_settled_total",
        "Barriers raised to end a doubt."
    );
    metrics::describe_counter!(
        "quorate_flush_batches_total",
        "Batches of write-back flushed."
    );
    metrics::describe_counter!("quorate_flush_rows_total", "Rows of those batches.");
    metrics::describe_histogram!(
        "quorate_flush_seconds",
        Unit::Seconds,
        "How long a batch of write-back took at the store."
    );
    metrics::describe_histogram!(
        "quorate_store_seconds",
        Unit::Seconds,
        "How long a load, a barrier or a write-through took at the store."
    );
    metrics::describe_counter!(
        "quorate_store_errors_total",
        "Calls of the store that failed or were not answered."
    );
    metrics::describe_counter!(
        "quorate_store_foreign_stamps_total",
        "Rows met whose stamp is greater than the slot's own primary can have: an alarm."
    );
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        Metrics {
            dirty_bytes: metrics::gauge!("quorate_dirty_bytes"),
            doubts: metrics::gauge!("quorate_doubts"),
            stores: RefCell::default(),
        }
    }

    pub(crate) fn dirty_bytes(&self, bytes: u64) {
        self.dirty_bytes.set(bytes as f64);
    }

    pub(crate) fn doubts(&self, count: usize) {
        self.doubts.set(count as f64);
    }

    pub(crate) fn loaded(&self, store: &str, keys: usize) {
        self.with(store, |handles| handles.loads.increment(keys as u64));
    }

    pub(crate) fn joined_loads(&self, store: &Option<String>, keys: usize) {
        if let Some(store) = store.as_deref().filter(|_| keys > 0) {
            self.with(store, |handles| handles.joined.increment(keys as u64));
        }
    }

    pub(crate) fn settled(&self, store: &str, keys: usize) {
        self.with(store, |handles| handles.settled.increment(keys as u64));
    }

    pub(crate) fn flushed(&self, store: &str, rows: usize, took: Duration) {
        self.with(store, |handles| {
            handles.flush_batches.increment(1);
            handles.flush_rows.increment(rows as u64);
            handles.flush_seconds.record(took.as_secs_f64());
        });
    }

    pub(crate) fn store_took(&self, store: &str, took: Duration) {
        self.with(store, |handles| handles.seconds.record(took.as_secs_f64()));
    }

    pub(crate) fn store_error(&self, store: &str) {
        self.with(store, |handles| handles.errors.increment(1));
    }

    pub(crate) fn foreign_stamp(&self, store: &str) {
        self.with(store, |handles| handles.foreign_stamps.increment(1));
    }

    fn with(&self, store: &str, count: impl FnOnce(&Store)) {
        let mut stores = self.stores.borrow_mut();
        if !stores.contains_key(store) {
            stores.insert(store.to_owned(), Store::new(store));
        }
        count(&stores[store]);
    }
}

impl Store {
    fn new(store: &str) -> Store {
        let counter = |name: &'static str| metrics::counter!(name, "store" => store.to_owned());
        let histogram = |name: &'static str| metrics::histogram!(name, "store" => store.to_owned());
        Store {
            loads: counter("quorate_store_loads_total"),
            joined: counter("quorate_store_loads_joined_total"),
            settled: counter("quorate_store_settled_total"),
            flush_batches: counter("quorate_flush_batches_total"),
            flush_rows: counter("quorate_flush_rows_total"),
            flush_seconds: histogram("quorate_flush_seconds"),
            seconds: histogram("quorate_store_seconds"),
            errors: counter("quorate_store_errors_total"),
            foreign_stamps: counter("quorate_store_foreign_stamps_total"),
        }
    }
}
