//! What all policies go by: the clock, and how they are tuned.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// The most entries of a slot that are compared for one eviction.
pub const SAMPLES_MAX: u32 = 64;

/// The clock of the policies and their tuning, as every slot of a node sees them.
#[derive(Debug)]
pub struct Conditions {
    unix_ms: AtomicU64,
    samples: AtomicU32,
    lfu_log_factor: AtomicU32,
    lfu_decay_minutes: AtomicU32,
}

impl Default for Conditions {
    fn default() -> Conditions {
        Conditions {
            unix_ms: 0.into(),
            samples: 5.into(),
            lfu_log_factor: 10.into(),
            lfu_decay_minutes: 1.into(),
        }
    }
}

impl Conditions {
    pub(super) const CLOCK_MASK: u32 = 0x00FF_FFFF;
    pub(super) const MINUTES_MASK: u32 = 0xFFFF;
    /// A unit of the clock, in milliseconds.
    pub(super) const UNIT_MS: u64 = 256;

    /// Moves the clock.
    pub fn set_unix_ms(&self, now: u64) {
        self.unix_ms.store(now, Relaxed);
    }

    /// 24 bits that count quarters of a second, and wrap after 49 days.
    #[must_use]
    pub fn clock(&self) -> u32 {
        (self.unix_ms.load(Relaxed) / Conditions::UNIT_MS) as u32 & Conditions::CLOCK_MASK
    }

    /// 16 bits that count minutes, and wrap after 45 days.
    #[must_use]
    pub fn minutes(&self) -> u32 {
        (self.unix_ms.load(Relaxed) / 60_000) as u32 & Conditions::MINUTES_MASK
    }

    /// `maxmemory-samples`: how many entries of a slot are compared.
    #[must_use]
    pub fn samples(&self) -> u32 {
        self.samples.load(Relaxed)
    }

    /// Sets `maxmemory-samples`; more than are worth it count as so many.
    pub fn set_samples(&self, samples: u32) {
        self.samples.store(samples.clamp(1, SAMPLES_MAX), Relaxed);
    }

    /// `lfu-log-factor`: how much rarer each further step of a counter is.
    #[must_use]
    pub fn lfu_log_factor(&self) -> u32 {
        self.lfu_log_factor.load(Relaxed)
    }

    /// Sets `lfu-log-factor`.
    pub fn set_lfu_log_factor(&self, factor: u32) {
        self.lfu_log_factor.store(factor, Relaxed);
    }

    /// `lfu-decay-time`: after how many minutes without use a counter loses one; 0 is never.
    #[must_use]
    pub fn lfu_decay_minutes(&self) -> u32 {
        self.lfu_decay_minutes.load(Relaxed)
    }

    /// Sets `lfu-decay-time`.
    pub fn set_lfu_decay_minutes(&self, minutes: u32) {
        self.lfu_decay_minutes.store(minutes, Relaxed);
    }
}
