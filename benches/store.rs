//! What a `GET` and a `SET` cost in the store, and what a key takes, in three layouts: a table for
//! each of 16,384 slots, the same keys in 100 large slots, and stripes of 64 slots that share a
//! table. One thread, a million keys of 16 bytes with values of 100 bytes, in random order. Times
//! are the thread's own on the processor, which other processes disturb less than those of a clock.

#![expect(
    clippy::print_stdout,
    reason = "the bytes of a key are printed beside the times"
)]

use std::hint::black_box;
use std::time::Duration;

use cluster::{Slot, Version};
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion, criterion_group, criterion_main};
use node::store::tx::{Expiry, Role};
use node::store::{SlotTable, Store, Tx};
use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

const KEYS: u64 = 1_000_000;
const NOW_UNIX_MS: u64 = 1_700_000_000_000;

/// Where the entries of a slot lie.
type Layout = fn(Slot) -> usize;
const LAYOUTS: [(&str, usize, Layout); 3] = [
    ("16384 slots", 16_384, |slot| slot.index()),
    ("100 slots", 100, |slot| slot.index() % 100),
    ("256 stripes", 256, |slot| slot.index() / 64),
];

struct Tables {
    tables: Vec<Mutex<SlotTable>>,
    layout: Layout,
    random: u64,
}

impl Tables {
    fn run<R>(&self, key: &[u8], run: impl FnOnce(&mut Tx<'_>) -> R) -> R {
        let table = &mut *self.tables[(self.layout)(Slot::of(key))].lock();
        let mut tx = Tx::new(table, Role::Primary, NOW_UNIX_MS, Version::from_u64(1));
        run(&mut tx)
    }

    fn random_key(&mut self) -> [u8; 16] {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        key(self.random % KEYS)
    }
}

fn key(mut number: u64) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    for digit in key[4..].iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    key
}

/// Bytes that the allocator has given out.
fn allocated() -> usize {
    tikv_jemalloc_ctl::epoch::advance().expect("the epoch can be advanced");
    tikv_jemalloc_ctl::stats::allocated::read().expect("the statistics are compiled in")
}

/// The time that this thread has had a processor.
struct ProcessorTime;

impl Measurement for ProcessorTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::try_from(time).expect("a thread's time is not negative")
    }

    fn end(&self, start: Duration) -> Duration {
        self.start() - start
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

fn store(criterion: &mut Criterion<ProcessorTime>) {
    let value = [b'v'; 100];
    for (name, count, layout) in LAYOUTS {
        let before = allocated();
        let store = Store::new([1, 2, 3, 4]);
        let tables = (0..count).map(|_| Mutex::new(store.table())).collect();
        let mut tables = Tables {
            tables,
            layout,
            random: 88_172_645_463_325_252,
        };
        let empty = allocated() - before;
        for number in 0..KEYS {
            let key = key(number);
            tables.run(&key, |tx| tx.set(&key, &value, Expiry::Never));
        }
        let per_key = |bytes: usize| bytes as f64 / KEYS as f64;
        println!(
            "{name}: {:.1} bytes a key by our count, {:.1} by the allocator's, {:.1} of it empty",
            per_key(store.used_bytes()),
            per_key(allocated() - before),
            per_key(empty),
        );
        let mut group = criterion.benchmark_group(name);
        group.bench_function("key alone", |bencher| {
            bencher.iter(|| Slot::of(black_box(&tables.random_key())));
        });
        group.bench_function("get", |bencher| {
            bencher.iter(|| {
                let key = tables.random_key();
                tables.run(&key, |tx| {
                    tx.string(&key)
                        .map(|value| black_box(value.map(|value| value[99])))
                })
            });
        });
        group.bench_function("set", |bencher| {
            bencher.iter(|| {
                let key = tables.random_key();
                tables.run(&key, |tx| tx.set(&key, black_box(&value), Expiry::Never));
            });
        });
        group.finish();
    }
}

/// A field of a packed hash and of one with a table: fields of 16 bytes with values of 32.
fn hashes(criterion: &mut Criterion<ProcessorTime>) {
    let value = [b'v'; 32];
    for (name, fields) in [
        ("hash of 10 fields", 10),
        ("of 500", 500),
        ("of a million", KEYS),
    ] {
        let store = Store::new([1, 2, 3, 4]);
        let mut tables = Tables {
            tables: vec![Mutex::new(store.table())],
            layout: |_| 0,
            random: 88_172_645_463_325_252,
        };
        for number in 0..fields {
            tables
                .run(b"h", |tx| tx.set_fields(b"h", &[(&key(number), &value)]))
                .ok();
        }
        let per_field = store.used_bytes() as f64 / fields as f64;
        println!("{name}: {per_field:.1} bytes a field by our count");
        let mut group = criterion.benchmark_group(name);
        let field = move |tables: &mut Tables| {
            tables.random_key();
            key(tables.random % fields)
        };
        group.bench_function("hget", |bencher| {
            bencher.iter(|| {
                let field = field(&mut tables);
                tables.run(b"h", |tx| {
                    let hash = tx.hash(b"h").ok().flatten();
                    hash.and_then(|hash| hash.get(&field).map(|value| black_box(value)[31]))
                })
            });
        });
        group.bench_function("hset", |bencher| {
            bencher.iter(|| {
                let field = field(&mut tables);
                tables.run(b"h", |tx| {
                    tx.set_fields(b"h", &[(&field, black_box(&value))])
                })
            });
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(ProcessorTime);
    targets = store, hashes
}
criterion_main!(benches);
