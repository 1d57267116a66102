//! All chance of a run: one seeded generator (SplitMix64), so that a seed replays exactly, also
//! with another version of any library.

use std::time::Duration;

/// A seeded source of chance.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The source with this seed.
    #[must_use]
    pub fn new(seed: u64) -> Chance {
        Chance(seed ^ 0x5151_0f0f_a3a3_c9c9)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    /// An index into something of this length, which is not zero.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("smaller than a length")
    }

    /// True in so many of a thousand cases.
    pub fn permille(&mut self, cases: u64) -> bool {
        self.below(1000) < cases
    }

    /// A span from `least` to `most`.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let (least, most) = (least.as_nanos() as u64, most.as_nanos() as u64);
        Duration::from_nanos(least + self.below(most.saturating_sub(least) + 1))
    }

    /// A span from `least` to `most` milliseconds.
    pub fn millis(&mut self, least: u64, most: u64) -> Duration {
        self.between(Duration::from_millis(least), Duration::from_millis(most))
    }

    /// A span around `mean` that is mostly shorter and now and then several times as long.
    pub fn around(&mut self, mean: Duration) -> Duration {
        let unit = (self.below(1_000_000) + 1) as f64 / 1_000_000.0;
        mean.mul_f64(-unit.ln())
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }
}
