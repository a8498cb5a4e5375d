//! Days, months and years of the proleptic Gregorian calendar.

/// Seconds of a day.
pub const SECONDS_PER_DAY: i64 = 86_400;

/// The months in English.
pub const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The days of the week in English.
pub const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A point in time in a calendar and on a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateTime {
    /// The year; zero is the one before the first.
    pub year: i64,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    /// 1 to 366.
    pub year_day: u32,
    /// 0 is Sunday.
    pub weekday: u32,
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 59.
    pub second: u32,
}

impl DateTime {
    /// The date and the clock at `seconds` since the epoch, which already include the zone's offset.
    #[must_use]
    pub fn at(seconds: i64) -> Self {
        let days = seconds.div_euclid(SECONDS_PER_DAY);
        let clock = small(seconds.rem_euclid(SECONDS_PER_DAY));
        let (year, month, day) = date_of(days);
        Self {
            year,
            month,
            day,
            year_day: small(days - days_since_epoch(year, 1, 1)) + 1,
            // The epoch was a Thursday.
            weekday: small((days + 4).rem_euclid(7)),
            hour: clock / 3600,
            minute: clock / 60 % 60,
            second: clock % 60,
        }
    }

    /// The name of the month in English.
    #[must_use]
    pub fn month_name(&self) -> &'static str {
        MONTHS.get(self.month as usize - 1).copied().unwrap_or_default()
    }

    /// The name of the day of the week in English.
    #[must_use]
    pub fn weekday_name(&self) -> &'static str {
        WEEKDAYS.get(self.weekday as usize).copied().unwrap_or_default()
    }
}

fn small(v: i64) -> u32 {
    u32::try_from(v).unwrap_or_default()
}

/// Whether a year has 366 days.
#[must_use]
pub fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// The days of a month, 1 to 12.
#[must_use]
pub fn days_in(month: u32, year: i64) -> u32 {
    match month {
        2 => 28 + u32::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date. `month` is 1 to 12; `day` may be any.
#[must_use]
pub fn days_since_epoch(year: i64, month: u32, day: i64) -> i64 {
    // Years begin in March, so that the leap day is the last one.
    let (year, month) =
        if month > 2 { (year, i64::from(month) - 3) } else { (year.wrapping_sub(1), i64::from(month) + 9) };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * month + 2) / 5;
    let days = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era.wrapping_mul(146_097).wrapping_add(days).wrapping_add(day - 1).wrapping_sub(719_468)
}

fn date_of(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), small(month), small(day))
}

/// Seconds from the epoch to a date and a clock.
#[must_use]
pub fn seconds_since_epoch(year: i64, month: u32, day: i64, clock: i64) -> i64 {
    days_since_epoch(year, month, day).wrapping_mul(SECONDS_PER_DAY).wrapping_add(clock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_of_any_day_and_back_is_the_same() {
        let (mut year, mut year_day) = (-400, 0);
        for days in days_since_epoch(-400, 1, 1)..days_since_epoch(2401, 1, 1) {
            let date = DateTime::at(days * SECONDS_PER_DAY + 3661);
            (year, year_day) = if date.year == year { (year, year_day + 1) } else { (date.year, 1) };
            assert_eq!((date.year, date.year_day), (year, year_day));
            assert_eq!(days_since_epoch(date.year, date.month, i64::from(date.day)), days);
            assert!(date.day <= days_in(date.month, date.year));
            assert_eq!((date.hour, date.minute, date.second), (1, 1, 1));
        }
        assert_eq!(DateTime::at(0).weekday_name(), "Thursday");
    }
}
