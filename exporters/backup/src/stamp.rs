//! The time in a backup file's name. It is the run's start, and so nearer to the recovery point than the file's time of
//! change, which is the run's end.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

/// The first date with a time of day: `20261122T180900Z`, `2026-11-22_18-09`, `20261122180900+0100` and their like. A
/// date alone could be wrong by a day and is ignored. Without a zone it is local time, as `date` writes it.
pub(crate) fn in_name(name: &str) -> Option<Timestamp> {
    in_name_of_zone(name, TimeZone::system)
}

fn in_name_of_zone(name: &str, local: impl Fn() -> TimeZone) -> Option<Timestamp> {
    let bytes = name.as_bytes();
    (0..bytes.len()).filter(|&at| at == 0 || !bytes[at - 1].is_ascii_digit()).find_map(|at| {
        let mut reader = Reader(&bytes[at..]);
        let time = reader.date_time()?;
        match reader.zone()? {
            Some(offset) => offset.to_timestamp(time).ok(),
            None => Some(local().to_zoned(time).ok()?.timestamp()),
        }
    })
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn number(&mut self, digits: usize) -> Option<i16> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        let number = number.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + i16::from(b - b'0')))?;
        self.0 = rest;
        Some(number)
    }

    fn small(&mut self) -> Option<i8> {
        self.number(2)?.try_into().ok()
    }

    fn skip(&mut self, separators: &[u8]) {
        if let Some((first, rest)) = self.0.split_first()
            && separators.contains(first)
        {
            self.0 = rest;
        }
    }

    fn date_time(&mut self) -> Option<DateTime> {
        let year = self.number(4).filter(|year| (2000..2100).contains(year))?;
        self.skip(b"-_.");
        let month = self.small()?;
        self.skip(b"-_.");
        let day = self.small()?;
        self.skip(b"Tt-_. ");
        let hour = self.small()?;
        self.skip(b"-_.:h");
        let minute = self.small()?;
        let before = self.0;
        self.skip(b"-_.:m");
        let second = self.small().filter(|_| !self.0.first().is_some_and(u8::is_ascii_digit));
        if second.is_none() {
            self.0 = before;
        }
        if self.0.first().is_some_and(u8::is_ascii_digit) {
            return None;
        }
        DateTime::new(year, month, day, hour, minute, second.unwrap_or_default(), 0).ok()
    }

    /// `None` for an invalid zone.
    fn zone(&mut self) -> Option<Option<Offset>> {
        let sign = match self.0.first() {
            Some(b'Z' | b'z') => return Some(Some(Offset::UTC)),
            Some(b'+') => 1,
            // A hyphen separates more often than it means west of Greenwich: only with four digits and an end.
            Some(b'-')
                if self.0.len() > 4
                    && self.0[1..5].iter().all(u8::is_ascii_digit)
                    && !self.0.get(5).is_some_and(u8::is_ascii_digit) =>
            {
                -1
            }
            _ => return Some(None),
        };
        self.0 = &self.0[1..];
        let hours = i32::from(self.number(2)?);
        self.skip(b":");
        let minutes = i32::from(self.number(2)?);
        Some(Some(Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str) -> Option<String> {
        // Two hours east, so that a name read as UTC by mistake shows.
        let east = || TimeZone::fixed(jiff::tz::offset(2));
        in_name_of_zone(name, east).map(|timestamp| timestamp.to_string())
    }

    #[test]
    fn times_of_many_spellings() {
        for (name, expected) in [
            ("app-20261122T180900Z.sql.zst", "2026-11-22T18:09:00Z"),
            ("app_20261122-180900.sql.gz", "2026-11-22T16:09:00Z"),
            ("20261122180900.tar", "2026-11-22T16:09:00Z"),
            ("app-202611221809.tar", "2026-11-22T16:09:00Z"),
            ("app.2026-11-22_18-09-30.sql", "2026-11-22T16:09:30Z"),
            ("app-2026-11-22_18h09m30.sql", "2026-11-22T16:09:30Z"),
            ("app-2026-11-22T18:09:30Z.sql", "2026-11-22T18:09:30Z"),
            ("app-2026-11-22T18:09:30+01:00.sql", "2026-11-22T17:09:30Z"),
            ("app-20261122T180930-0500.sql", "2026-11-22T23:09:30Z"),
            ("app-2026.11.22 18.09.sql", "2026-11-22T16:09:00Z"),
            ("db-v10-1763000000-20261122T180900Z.gz", "2026-11-22T18:09:00Z"),
            ("app-20261122-1809-full.sql.gz", "2026-11-22T16:09:00Z"),
            ("app-20261122-180900-12.sql.gz", "2026-11-22T16:09:00Z"),
        ] {
            assert_eq!(read(name).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn an_invalid_time() {
        for name in [
            "",
            "app.sql.gz",
            "app-2026-11-22.sql",
            "app-20261122.sql",
            "app-20261322T180900Z.sql",
            "app-20260231T180900Z.sql",
            "app-20261122T250900Z.sql",
            "app-1763834940.sql",
            "app-202611221809001.sql",
            "app-18990101T000000Z.sql",
            "é2026",
        ] {
            assert_eq!(read(name), None, "{name}");
        }
    }
}
