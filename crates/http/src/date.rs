//! Dates of header fields: the strict form of HTTP and the loose one of cookies.
//!
//! Returns seconds since 1970. Reads no clock and compares no dates.

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the one form that may be sent (RFC 9110, 5.6.7).
#[must_use]
pub fn parse_http_date(text: &str) -> Option<u64> {
    let mut words = text.split_once(", ")?.1.split(' ');
    let day = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = (1..).zip(MONTHS).find(|(_, name)| *name == month)?.0;
    let year = words.next()?.parse().ok().filter(|y| *y >= 1970)?;
    let time = parse_time(words.next()?)?;
    (words.next() == Some("GMT") && words.next().is_none()).then(|| unix_seconds(year, month, day, time))?
}

/// The forms that browsers accept too (RFC 6265, 5.1.1): dashes, years of two digits, any case. Dates before 1970
/// become 1970.
#[must_use]
pub fn parse_cookie_date(text: &str) -> Option<u64> {
    let mut words = text.split_once(',')?.1.split([' ', '-']).filter(|w| !w.is_empty());
    let day = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = (1..).zip(MONTHS).find(|(_, name)| name.eq_ignore_ascii_case(month))?.0;
    let year = match words.next()?.parse().ok()? {
        short @ 0..70 => short + 2000,
        short @ 70..100 => short + 1900,
        year => year,
    };
    unix_seconds(year, month, day, parse_time(words.next()?)?)
}

fn parse_time(text: &str) -> Option<[u64; 3]> {
    let mut numbers = text.split(':').map(|n| n.parse().ok());
    Some([numbers.next()??, numbers.next()??, numbers.next()??])
}

/// Seconds since 1970 from a calendar date, computed with years that begin in March, so that the leap day is the last
/// day.
fn unix_seconds(year: u64, month: u64, day: u64, [hour, minute, second]: [u64; 3]) -> Option<u64> {
    // A leap second is written as 60 (RFC 9110, 5.6.7).
    if !(1..=31).contains(&day) || year > 9999 || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (y, m) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1;
    Some(days.saturating_sub(719_468) * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_date_in_another_form_is_rejected() {
        assert_eq!(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        for bad in [
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 GMT x",
            "Sun, 06 Nov 1994 25:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 18446744073709551615 08:49:37 GMT",
        ] {
            assert_eq!(parse_http_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn cookie_date_in_any_form_of_browsers_is_parsed() {
        assert_eq!(parse_cookie_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(parse_cookie_date("Sunday, 06-NOV-94 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(parse_cookie_date("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        assert_eq!(parse_cookie_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(parse_cookie_date("Fri, 31 Dec 1600 00:00:00 GMT"), Some(0));
        assert_eq!(parse_cookie_date("tomorrow"), None);
    }
}
