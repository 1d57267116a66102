//! Spans of time and sizes as people write them in a configuration file: `"500ms"`, `"8MiB"`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A span of time, written as a whole number with a unit: `ms`, `s`, `m`, `h` or `d`.
/// Zero needs no unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

/// A size in bytes, written as a whole number with a unit: `B`, `KiB`, `MiB`, `GiB`, `TiB` (powers
/// of 1024), `KB`, `MB`, `GB`, `TB` (powers of 1000), or with none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

impl Span {
    /// The span of this many milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Span {
        Span(Duration::from_millis(millis))
    }

    /// The span of this many seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Span {
        Span(Duration::from_secs(secs))
    }

    /// Whole milliseconds.
    #[must_use]
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Size {
    /// As a length of what lies in memory.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

const SPAN_UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];
/// Sizes are printed in these.
const SIZE_UNITS: [(&str, u64); 5] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];
const DECIMAL_SIZE_UNITS: [(&str, u64); 4] = [
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let wrong =
            || format!("a span of time is written like \"500ms\", \"5s\" or \"1h\", not {text:?}");
        let (number, unit) = split(text).ok_or_else(wrong)?;
        let factor = match unit {
            "" if number == 0 => 1,
            _ => factor(&SPAN_UNITS, unit).ok_or_else(wrong)?,
        };
        number
            .checked_mul(factor)
            .map(Span::from_millis)
            .ok_or_else(wrong)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let wrong =
            || format!("a size is written like \"512\", \"64KiB\" or \"8MiB\", not {text:?}");
        let (number, unit) = split(text).ok_or_else(wrong)?;
        let factor = if unit.is_empty() {
            1
        } else {
            factor(&SIZE_UNITS, unit)
                .or_else(|| factor(&DECIMAL_SIZE_UNITS, unit))
                .ok_or_else(wrong)?
        };
        number.checked_mul(factor).map(Size).ok_or_else(wrong)
    }
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

fn factor(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|&(_, factor)| factor)
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, &SPAN_UNITS, self.as_millis())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, &SIZE_UNITS, self.0)
    }
}

/// In the greatest unit that loses nothing.
fn print(f: &mut fmt::Formatter<'_>, units: &[(&str, u64)], number: u64) -> fmt::Result {
    let fits = units
        .iter()
        .rev()
        .find(|(_, factor)| number > 0 && number.is_multiple_of(*factor));
    let (unit, factor) = fits.unwrap_or(&units[0]);
    write!(f, "{}{unit}", number / factor)
}

macro_rules! as_text {
    ($type:ty, $expects:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expects)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }

                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<$type, E> {
                        self.visit_str(&number.to_string())
                    }

                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<$type, E> {
                        self.visit_str(&number.to_string())
                    }
                }
                // A configuration file may hold a bare number; the compact form of the metadata
                // group's document cannot tell, and always holds the text.
                if deserializer.is_human_readable() {
                    deserializer.deserialize_any(Text)
                } else {
                    deserializer.deserialize_str(Text)
                }
            }
        }
    };
}

as_text!(Span, "a span of time like \"500ms\", \"5s\" or \"1h\"");
as_text!(Size, "a size like \"512\", \"64KiB\" or \"8MiB\"");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_read_back_what_they_print() {
        for text in ["0ms", "500ms", "5s", "90m", "1h", "2d"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for text in ["0B", "100B", "64KiB", "8MiB", "3GiB"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        assert_eq!("0".parse(), Ok(Span::default()));
        assert_eq!("512".parse(), Ok(Size(512)));
        assert_eq!("4GB".parse(), Ok(Size(4_000_000_000)));
    }

    #[test]
    fn what_is_not_one_is_told_how_one_looks() {
        for wrong in ["5", "5 weeks", "-1s", "", "s", "18446744073709551615d"] {
            let error = wrong.parse::<Span>().unwrap_err();
            assert!(
                error.contains("\"500ms\"") && error.contains(wrong),
                "{error}"
            );
        }
        for wrong in ["8Mb", "1.5MiB", "many"] {
            assert!(wrong.parse::<Size>().unwrap_err().contains("\"8MiB\""));
        }
    }
}
