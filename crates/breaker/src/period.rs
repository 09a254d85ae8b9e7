//! The periods of budgets, and which epoch of theirs a moment belongs to. Calendar periods are of UTC.

use std::time::Duration;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// A sliding period moves on by an eighth.
const SLIDES: u64 = 8;

/// How long a limit holds until it begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Period {
    /// For ever.
    Lifetime,
    /// Each hour of UTC.
    Hour,
    /// Each day of UTC.
    Day,
    /// Each month of UTC.
    Month,
    /// Any stretch of this length, to an eighth of it. From 8 ms to a year.
    Sliding(Duration),
}

impl Period {
    /// Milliseconds of a bucket of a sliding period.
    fn slide_ms(length: Duration) -> u64 {
        (length.as_millis() as u64 / SLIDES).max(1)
    }

    /// The epoch of a moment: milliseconds of the calendar, and of the monotonic clock for sliding periods.
    pub(crate) fn epoch(self, wall_ms: u64, monotonic_ms: u64) -> u64 {
        match self {
            Self::Lifetime => 0,
            Self::Hour => wall_ms / HOUR_MS,
            Self::Day => wall_ms / DAY_MS,
            Self::Month => month_of(wall_ms / DAY_MS),
            // Epochs begin high enough for a full period to lie before.
            Self::Sliding(length) => SLIDES + monotonic_ms / Self::slide_ms(length),
        }
    }

    /// How long after that moment the next epoch begins, in milliseconds; nothing if never.
    pub(crate) fn remaining_ms(self, wall_ms: u64, monotonic_ms: u64) -> Option<u64> {
        match self {
            Self::Lifetime => None,
            Self::Hour => Some(HOUR_MS - wall_ms % HOUR_MS),
            Self::Day => Some(DAY_MS - wall_ms % DAY_MS),
            Self::Month => {
                let month = month_of(wall_ms / DAY_MS);
                let mut day = wall_ms / DAY_MS + 1;
                while month_of(day) == month {
                    day += 1;
                }
                // At the end of time a month has no end.
                Some(day.saturating_mul(DAY_MS).saturating_sub(wall_ms).max(1))
            }
            Self::Sliding(length) => {
                let slide = Self::slide_ms(length);
                Some(slide - monotonic_ms % slide)
            }
        }
    }
}

/// Months since January 1970 of a day since the first of it.
fn month_of(day: u64) -> u64 {
    // Years counted from March end with the leap day; 719 468 days lie between March of year 0 and 1970.
    let day = day + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let months = (era * 400 + year) * 12 + month_from_march + 2;
    months - 1970 * 12
}

#[cfg(all(test, not(steadfast_loom)))]
mod tests {
    use super::*;

    /// Months by walking through the calendar.
    #[test]
    fn months_agree_with_a_walk_through_the_calendar() {
        let mut day = 0;
        for year in 1970..2405_u64 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            for (month, days) in
                [31, 28 + u64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].into_iter().enumerate()
            {
                for _ in 0..days {
                    assert_eq!(month_of(day), (year - 1970) * 12 + month as u64, "day {day}");
                    day += 1;
                }
            }
        }
    }

    #[test]
    fn an_epoch_ends_when_it_says() {
        for wall_ms in [0, 1, 951_782_399_999, 951_782_400_000, 1_709_164_800_123, 1_735_689_599_999] {
            for period in [Period::Hour, Period::Day, Period::Month, Period::Sliding(Duration::from_secs(1))]
            {
                let left = period.remaining_ms(wall_ms, wall_ms).unwrap();
                let epoch = |at| period.epoch(at, at);
                assert_eq!(epoch(wall_ms + left - 1), epoch(wall_ms));
                assert_eq!(epoch(wall_ms + left), epoch(wall_ms) + 1);
            }
        }
        assert_eq!(Period::Lifetime.remaining_ms(5, 5), None);
        for period in [Period::Hour, Period::Day, Period::Month] {
            assert!(period.remaining_ms(u64::MAX, 0).is_some_and(|left| left > 0), "{period:?}");
        }
    }
}
