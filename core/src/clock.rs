//! Wall-clock time, computed from the monotonic time that every input carries.

use std::time::{Duration, Instant};

/// Relates an [`Instant`] to Unix time. The driver reads both clocks once, at the start.
#[derive(Debug, Clone, Copy)]
pub struct WallClock {
    start: Instant,
    unix: Duration,
}

impl WallClock {
    /// A clock that says `unix` (time since 1970-01-01T00:00:00Z) at `start`.
    pub fn new(start: Instant, unix: Duration) -> Self {
        WallClock { start, unix }
    }

    /// Time since 1970-01-01T00:00:00Z.
    pub fn unix(&self, now: Instant) -> Duration {
        self.unix + now.saturating_duration_since(self.start)
    }

    /// RFC 3339 in UTC with nanoseconds, such as `2026-11-20T17:42:00.360655523Z`.
    pub fn rfc3339(&self, now: Instant) -> String {
        rfc3339(self.unix(now))
    }
}

/// Formats a time since the Unix epoch as RFC 3339 in UTC with nanoseconds.
pub fn rfc3339(unix: Duration) -> String {
    let seconds = unix.as_secs();
    let (year, month, day) = civil_date(seconds / 86_400);
    let of_day = seconds % 86_400;
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    let nanos = u64::from(unix.subsec_nanos());
    // Every message of some dialects has one, and the formatter of the standard library takes ten times as long.
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    let fields = [
        (0..4, year),
        (5..7, month),
        (8..10, day),
        (11..13, hour),
        (14..16, minute),
        (17..19, second),
        (20..29, nanos),
    ];
    for (place, mut number) in fields {
        for digit in text[place].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Year, month and day of a number of days since 1970-01-01 in the Gregorian calendar.
///
/// The calendar is shifted to begin in March, so that the leap day is the last day of a year of 365 or 366 days and
/// the lengths of the months before it follow one linear rule (153 days in five months).
fn civil_date(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468; // from 0000-03-01
    const DAYS_IN_400_YEARS: u64 = 146_097;
    let days = days + DAYS_TO_1970;
    let era = days / DAYS_IN_400_YEARS;
    let day_of_era = days % DAYS_IN_400_YEARS;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_known_moments() {
        for (seconds, nanos, text) in [
            (0, 0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400, 5, "2000-02-29T00:00:00.000000005Z"),
            (1_709_251_199, 0, "2024-02-29T23:59:59.000000000Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000000000Z"),
            (1_795_196_520, 360_655_523, "2026-11-20T17:42:00.360655523Z"),
        ] {
            assert_eq!(rfc3339(Duration::new(seconds, nanos)), text);
        }
    }
}
