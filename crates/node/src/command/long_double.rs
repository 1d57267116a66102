//! Numbers as `INCRBYFLOAT` computes with them: with a mantissa of 64 bits, as the `long double` of
//! C has it on x86, so that results and their digits are those of Redis.
//!
//! Three things are needed: to read decimal or hexadecimal text, to add, and to write with up to 17
//! digits behind the point. Each is exact and rounds once, to the nearest and half to even.

use std::cmp::Ordering;

/// The longest text that is read as a number; Redis has the same buffer.
const TEXT_BYTES_MAX: usize = 5 * 1024 - 1;
/// The exponent of the greatest and of the least number: `mantissa * 2^exponent`.
const EXPONENT_MAX: i64 = 16384 - 64;
const EXPONENT_MIN: i64 = -16445 - 63;
/// No number has more digits before the point, or more zeros behind it before its first digit.
const PLACES_MAX: i64 = 4_960;
/// Digits behind the point that are written.
const DECIMALS: usize = 17;

/// A finite number, or an infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LongDouble {
    negative: bool,
    /// Its top bit is set, unless the number is zero.
    mantissa: u64,
    exponent: i64,
    infinite: bool,
}

impl LongDouble {
    const ZERO: LongDouble = LongDouble {
        negative: false,
        mantissa: 0,
        exponent: 0,
        infinite: false,
    };

    /// Reads all of a text as C's `strtold` does: no blanks, no NaN, nothing too great or small.
    #[must_use]
    pub(super) fn parse(text: &[u8]) -> Option<LongDouble> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        if text.eq_ignore_ascii_case(b"inf") || text.eq_ignore_ascii_case(b"infinity") {
            return Some(LongDouble {
                negative,
                infinite: true,
                ..LongDouble::ZERO
            });
        }
        let magnitude = match text {
            [b'0', b'x' | b'X', digits @ ..] => hexadecimal(digits)?,
            digits => decimal(digits)?,
        };
        (!magnitude.infinite).then_some(LongDouble {
            negative,
            ..magnitude
        })
    }

    /// The sum, unless it is infinite or no number.
    #[must_use]
    pub(super) fn is_infinite(self) -> bool {
        self.infinite
    }

    #[must_use]
    pub(super) fn checked_add(self, other: LongDouble) -> Option<LongDouble> {
        if self.infinite || other.infinite {
            return None;
        }
        let sum = self.sum(other);
        (!sum.infinite).then_some(sum)
    }

    /// Writes the number without exponent: 17 digits behind the point, less the zeros at the end.
    #[must_use]
    pub(super) fn to_text(self) -> String {
        let mut scaled = Natural::from(self.mantissa);
        for _ in 0..DECIMALS {
            scaled.multiply_add(10, 0);
        }
        if self.exponent >= 0 {
            scaled.shift_left(self.exponent as usize);
        } else {
            scaled.shift_right_rounding(self.exponent.unsigned_abs() as usize);
        }
        let mut text = scaled.into_decimal();
        if text.len() <= DECIMALS {
            text.insert_str(0, &"0".repeat(DECIMALS + 1 - text.len()));
        }
        text.insert(text.len() - DECIMALS, '.');
        let kept = text.trim_end_matches('0').trim_end_matches('.').len();
        text.truncate(kept);
        if self.negative && text != "0" {
            text.insert(0, '-');
        }
        text
    }

    fn sum(self, other: LongDouble) -> LongDouble {
        if self.mantissa == 0 || other.mantissa == 0 {
            let rest = if self.mantissa == 0 { other } else { self };
            let negative = self.negative && other.negative;
            return if rest.mantissa == 0 {
                LongDouble { negative, ..rest }
            } else {
                rest
            };
        }
        let size = |number: LongDouble| (number.exponent, number.mantissa);
        let (large, small) = if size(self) >= size(other) {
            (self, other)
        } else {
            (other, self)
        };
        let distance = large.exponent - small.exponent;
        // 62 bits below the large mantissa, and a last one for all that lies deeper.
        let wide_large = u128::from(large.mantissa) << 63;
        let wide_small = u128::from(small.mantissa) << 63;
        let wide_small = match u32::try_from(distance) {
            Ok(shift) if shift < 127 => {
                let lost = wide_small & ((1 << shift) - 1) != 0;
                wide_small >> shift | u128::from(lost)
            }
            _ => 1,
        };
        let wide = if large.negative == small.negative {
            wide_large + wide_small
        } else {
            wide_large - wide_small
        };
        if wide == 0 {
            return LongDouble::ZERO;
        }
        let up = wide.leading_zeros();
        let top = wide << up;
        let sum = rounded(
            (top >> 64) as u64,
            top as u64,
            large.exponent - 63 + 64 - i64::from(up),
        );
        LongDouble {
            negative: large.negative,
            ..sum
        }
    }
}

/// The number of this mantissa and the bits behind it, the first of which is worth a half.
fn rounded(mantissa: u64, behind: u64, exponent: i64) -> LongDouble {
    const HALF: u64 = 1 << 63;
    let up = match behind.cmp(&HALF) {
        Ordering::Less => false,
        Ordering::Greater => true,
        Ordering::Equal => mantissa & 1 == 1,
    };
    let (mantissa, exponent) = match mantissa.checked_add(u64::from(up)) {
        Some(mantissa) => (mantissa, exponent),
        None => (1 << 63, exponent + 1),
    };
    LongDouble {
        negative: false,
        mantissa,
        exponent,
        infinite: exponent > EXPONENT_MAX,
    }
}

fn decimal(text: &[u8]) -> Option<LongDouble> {
    let (digits, mut exponent, rest) = digits(text, 10)?;
    match rest {
        [] => {}
        [b'e' | b'E', written @ ..] => exponent += exponent_of(written)?,
        _ => return None,
    }
    if digits.is_zero() {
        return Some(LongDouble::ZERO);
    }
    // How many digits it has before the point, about: what is too great or too small is known
    // before anything is computed.
    let places = (digits.bits() as f64 * std::f64::consts::LOG10_2) as i64 + exponent;
    if places.abs() > PLACES_MAX {
        return None;
    }
    let power = power_of_ten(exponent.unsigned_abs());
    let number = if exponent >= 0 {
        digits.multiply(&power).divide(&Natural::from(1))
    } else {
        digits.divide(&power)
    };
    (number.exponent >= EXPONENT_MIN).then_some(number)
}

fn power_of_ten(exponent: u64) -> Natural {
    let mut power = Natural::from(1);
    for _ in 0..exponent / 9 {
        power.multiply_add(1_000_000_000, 0);
    }
    power.multiply_add(10_u32.pow((exponent % 9) as u32), 0);
    power
}

fn hexadecimal(text: &[u8]) -> Option<LongDouble> {
    let (digits, exponent, rest) = digits(text, 16)?;
    let mut exponent = exponent * 4;
    match rest {
        [] => {}
        [b'p' | b'P', written @ ..] => exponent += exponent_of(written)?,
        _ => return None,
    }
    if digits.is_zero() {
        return Some(LongDouble::ZERO);
    }
    let number = digits.divide(&Natural::from(1));
    let exponent = number.exponent + exponent;
    let infinite = number.infinite || exponent > EXPONENT_MAX;
    (exponent >= EXPONENT_MIN).then_some(LongDouble {
        exponent,
        infinite,
        ..number
    })
}

/// All digits as one number, minus how many of them are behind the point, and what follows.
fn digits(text: &[u8], base: u32) -> Option<(Natural, i64, &[u8])> {
    let mut number = Natural::from(0);
    let (mut count, mut behind, mut point) = (0, 0, false);
    let mut rest = text;
    while let [byte, next @ ..] = rest {
        if let Some(digit) = char::from(*byte).to_digit(base) {
            number.multiply_add(base, digit);
            count += 1;
            behind -= i64::from(point);
        } else if *byte == b'.' && !point {
            point = true;
        } else {
            break;
        }
        rest = next;
    }
    (count > 0).then_some((number, behind, rest))
}

/// The exponent behind an `e` or a `p`; one that is beyond everything is cut to what still is.
fn exponent_of(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let limit = 1_000_000;
    let value = digits.iter().fold(0, |value: i64, digit| {
        (value * 10 + i64::from(digit - b'0')).min(limit)
    });
    Some(if negative { -value } else { value })
}

/// A natural number of any size; the least limb comes first, and the last is not zero.
#[derive(Clone, Debug)]
struct Natural(Vec<u32>);

impl From<u64> for Natural {
    fn from(number: u64) -> Natural {
        Natural(vec![number as u32, (number >> 32) as u32]).trimmed()
    }
}

impl Natural {
    fn trimmed(mut self) -> Natural {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
        self
    }

    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn bits(&self) -> usize {
        let top = self
            .0
            .last()
            .map_or(0, |limb| limb.leading_zeros() as usize);
        self.0.len() * 32 - top
    }

    fn bit(&self, at: usize) -> bool {
        self.0
            .get(at / 32)
            .is_some_and(|limb| limb >> (at % 32) & 1 == 1)
    }

    fn multiply_add(&mut self, factor: u32, summand: u32) {
        let mut carry = u64::from(summand);
        for limb in &mut self.0 {
            carry += u64::from(*limb) * u64::from(factor);
            *limb = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    fn multiply(&self, other: &Natural) -> Natural {
        let mut product = vec![0_u32; self.0.len() + other.0.len()];
        for (shift, &limb) in self.0.iter().enumerate() {
            let mut carry = 0_u64;
            for (place, &factor) in product[shift..].iter_mut().zip(other.0.iter().chain(&[0])) {
                carry += u64::from(*place) + u64::from(limb) * u64::from(factor);
                *place = carry as u32;
                carry >>= 32;
            }
        }
        Natural(product).trimmed()
    }

    fn shift_left(&mut self, bits: usize) {
        let mut carry = 0;
        let (limbs, bits) = (bits / 32, bits % 32);
        for limb in &mut self.0 {
            let wide = u64::from(*limb) << bits | carry;
            *limb = wide as u32;
            carry = wide >> 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
        if !self.is_zero() {
            self.0.splice(0..0, std::iter::repeat_n(0, limbs));
        }
    }

    /// Divides by a power of two, to the nearest, half to even.
    fn shift_right_rounding(&mut self, bits: usize) {
        if bits > self.bits() {
            self.0.clear();
            return;
        }
        let half = self.bit(bits - 1);
        let below = (0..bits - 1).any(|at| self.bit(at));
        self.0.drain(..bits / 32);
        let shift = bits % 32;
        let mut carry = 0;
        for limb in self.0.iter_mut().rev() {
            let wide = (u64::from(*limb) | carry << 32) >> shift;
            carry = u64::from(*limb) & ((1 << shift) - 1);
            *limb = wide as u32;
        }
        *self = std::mem::replace(self, Natural(Vec::new())).trimmed();
        if half && (below || self.bit(0)) {
            self.multiply_add(1, 1);
        }
    }

    fn at_least(&self, other: &Natural) -> bool {
        let order = self.0.len().cmp(&other.0.len());
        order.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev())) != Ordering::Less
    }

    fn subtract(&mut self, other: &Natural) {
        let mut borrow = 0_i64;
        for (limb, &less) in self
            .0
            .iter_mut()
            .zip(other.0.iter().chain(std::iter::repeat(&0)))
        {
            let difference = i64::from(*limb) - i64::from(less) + borrow;
            *limb = difference as u32;
            borrow = difference >> 32;
        }
        *self = std::mem::replace(self, Natural(Vec::new())).trimmed();
    }

    /// The nearest number to `self / divisor`; neither is zero.
    fn divide(mut self, divisor: &Natural) -> LongDouble {
        let mut divisor = divisor.clone();
        // So that the quotient is at least 1 and below 2, and both can be told apart bit by bit.
        let mut exponent = self.bits() as i64 - divisor.bits() as i64;
        if exponent >= 0 {
            divisor.shift_left(exponent as usize);
        } else {
            self.shift_left(exponent.unsigned_abs() as usize);
        }
        if !self.at_least(&divisor) {
            self.shift_left(1);
            exponent -= 1;
        }
        let mut quotient = 0_u128;
        for _ in 0..66 {
            let fits = self.at_least(&divisor);
            quotient = quotient << 1 | u128::from(fits);
            if fits {
                self.subtract(&divisor);
            }
            self.shift_left(1);
        }
        let behind = (quotient as u64) << 62 | u64::from(!self.is_zero());
        rounded((quotient >> 2) as u64, behind, exponent - 63)
    }

    fn into_decimal(mut self) -> String {
        const CHUNK: u64 = 1_000_000_000;
        let mut chunks = Vec::new();
        while !self.is_zero() {
            let mut rest = 0;
            for limb in self.0.iter_mut().rev() {
                let wide = rest << 32 | u64::from(*limb);
                *limb = (wide / CHUNK) as u32;
                rest = wide % CHUNK;
            }
            chunks.push(rest);
            self = self.trimmed();
        }
        let first = chunks.pop().unwrap_or(0).to_string();
        chunks
            .iter()
            .rev()
            .fold(first, |text, chunk| text + &format!("{chunk:09}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(one: &str, two: &str) -> Option<String> {
        let one = LongDouble::parse(one.as_bytes())?;
        let two = LongDouble::parse(two.as_bytes())?;
        one.checked_add(two).map(LongDouble::to_text)
    }

    /// The replies of redis-server 7.0.15 on x86-64.
    #[test]
    fn sums_are_those_of_redis() {
        for (one, two, expected) in [
            ("0.1", "0.2", "0.3"),
            ("3.0e3", "200", "3200"),
            ("10.50", "0.1", "10.6"),
            ("5", "-5", "0"),
            ("-0", "-0", "0"),
            ("0", "-0.1", "-0.1"),
            ("0x1.8p1", "0", "3"),
            ("1e19", "1", "10000000000000000001"),
            ("1e20", "1", "100000000000000000000"),
            ("1e-17", "0", "0.00000000000000001"),
            ("1e-18", "0", "0"),
            ("-1e-18", "0", "0"),
            (".5", "1.", "1.5"),
            ("18446744073709551615", "1", "18446744073709551616"),
        ] {
            assert_eq!(sum(one, two).as_deref(), Some(expected), "{one} + {two}");
        }
    }

    #[test]
    fn what_is_no_number() {
        let wrong = [
            "",
            "-",
            "+",
            ".",
            "1e",
            "1e+",
            "0x",
            "0x.p1",
            " 1",
            "1 ",
            "nan",
            "-nan",
            "abc",
            "1.2.3",
            "1e5000",
            "1e-5000",
            "1e999999999999999999",
            "infinit",
            "--1",
            "1_0",
            "0x1p",
        ];
        for text in wrong {
            assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(LongDouble::parse(&b"1".repeat(TEXT_BYTES_MAX + 1)), None);
        assert!(LongDouble::parse(b"0e99999999999").is_some());
        assert_eq!(sum("inf", "1"), None);
        assert_eq!(sum("1.18973149535723176502e4932", "1e4932"), None);
    }
}
