//! Durations in flags: `3` (seconds), `0.25`, `500ms`, `30s`, `15m`, `1h30m`, `1d`. Every program takes the same
//! spellings.
//!
//! Our own grammar and not a library's: `humantime` has no plain seconds, which the Go exporters' flags have, and
//! `jiff` would bring its time zones into exporters that need none.

use std::fmt;
use std::time::Duration;

/// Ten years. Longer values are typing errors, and adding them to the current time could overflow.
const MAX: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// From the longest to the shortest, as they appear in `1d2h3m4s5ms`; each with its length in seconds.
const UNITS: [(&str, f64); 5] = [("d", 86_400.0), ("h", 3_600.0), ("m", 60.0), ("s", 1.0), ("ms", 0.001)];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("expected a duration such as 30s, 500ms, 15m, 1h30m or 1d; a number without a unit is in seconds")]
    Syntax,
    #[error("expected a duration of more than zero, such as 30s, 500ms, 15m, 1h30m or 1d")]
    Zero,
    #[error("expected a duration of at most ten years")]
    TooLong,
}

/// A clap value parser: a duration, which may be zero.
pub fn duration(text: &str) -> Result<Duration, DurationError> {
    let seconds = match decimal(text) {
        Some((number, "")) => number,
        _ => with_units(text).ok_or(DurationError::Syntax)?,
    };
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| *duration <= MAX).ok_or(DurationError::TooLong)
}

/// A clap value parser: a duration of more than zero.
pub fn positive_duration(text: &str) -> Result<Duration, DurationError> {
    duration(text).and_then(|duration| if duration.is_zero() { Err(DurationError::Zero) } else { Ok(duration) })
}

/// Writes a duration as a flag takes it, such as `1h30m`.
pub fn display(duration: Duration) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        let mut milliseconds = duration.as_millis();
        if milliseconds == 0 {
            return f.write_str("0s");
        }
        for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
            if milliseconds >= length {
                write!(f, "{}{unit}", milliseconds / length)?;
                milliseconds %= length;
            }
        }
        Ok(())
    })
}

fn with_units(mut text: &str) -> Option<f64> {
    let mut seconds = 0.0;
    let mut shorter_units = &UNITS[..];
    while !text.is_empty() {
        let (number, rest) = decimal(text)?;
        let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(end);
        // Each unit once, and a longer one first: `30m1h` is more likely an error than an hour and a half.
        let position = shorter_units.iter().position(|(name, _)| *name == unit)?;
        seconds += number * shorter_units[position].1;
        shorter_units = &shorter_units[position + 1..];
        text = rest;
    }
    (shorter_units.len() < UNITS.len()).then_some(seconds)
}

/// The decimal number at the start, such as `90` or `0.25`, and the text after it.
fn decimal(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_grammar_for_all_programs() {
        for (text, milliseconds) in [
            ("3", 3_000),
            ("0", 0),
            ("0.25", 250),
            ("0.25s", 250),
            ("500ms", 500),
            ("30s", 30_000),
            ("15m", 900_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("1d", 86_400_000),
            ("1d2h3m4s5ms", 93_784_005),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn everything_else_is_an_error() {
        for text in [
            "", "s", ".", "1.2.3", "5ss", "5sms", "5 s", " 5s", "-1s", "+1s", "inf", "nan", "1e3", "soon", "30m1h",
            "1h1h", "1h30", "1w", "PT1H", "5S", "1м",
        ] {
            assert_eq!(duration(text), Err(DurationError::Syntax), "{text:?}");
        }
        for text in ["3660d1ms", "99999999999999999999d", &"9".repeat(400)] {
            assert_eq!(duration(text), Err(DurationError::TooLong), "{text:?}");
        }
        assert_eq!(duration("3660d"), Ok(MAX));
    }

    #[test]
    fn zero_is_an_error_where_it_makes_no_sense() {
        assert_eq!(positive_duration("1ms"), Ok(Duration::from_millis(1)));
        for text in ["0", "0s", "0h0m"] {
            assert_eq!(positive_duration(text), Err(DurationError::Zero), "{text}");
        }
    }

    #[test]
    fn printed_as_it_can_be_given() {
        for text in ["0s", "500ms", "30s", "1h30m", "1d2h3m4s5ms"] {
            assert_eq!(display(duration(text).unwrap()).to_string(), text);
        }
    }
}
