//! Dates as Release files write them (RFC 2822 in UTC), and as people and snapshot services do.

/// Parses `Sat, 12 Sep 2026 07:55:41 UTC`: seconds since the epoch.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let rest = match text.trim().split_once(',') {
        Some((_, rest)) => rest,
        None => text,
    };
    let mut words = rest.split_ascii_whitespace();
    let day: i64 = number(words.next()?, 2)?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|m| m.eq_ignore_ascii_case(name))? as i64 + 1;
    let year: i64 = number(words.next()?, 4)?;
    let mut time = words.next()?.split(':');
    let hour: i64 = number(time.next()?, 2)?;
    let minute: i64 = number(time.next()?, 2)?;
    let second: i64 = number(time.next()?, 2)?;
    let zone = words.next().unwrap_or("UTC");
    if time.next().is_some()
        || words.next().is_some()
        || !["UTC", "GMT", "Z", "+0000", "-0000"].contains(&zone)
        || !(1..=days_in(year, month)).contains(&day)
        || !(1970..=9999).contains(&year)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    u64::try_from(seconds).ok()
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

fn number(digits: &str, most: usize) -> Option<i64> {
    if digits.len() > most || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar, by eras of 400 years that begin in
/// March.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month, day, hour, minute, second.
fn civil(seconds: u64) -> (u64, u64, u64, u64, u64, u64) {
    let days = seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year + era * 400 + u64::from(month <= 2);
    let time = seconds % 86_400;
    (year, month, day, time / 3_600, time / 60 % 60, time % 60)
}

/// `20260912T075541Z`, as snapshot services name their states.
#[must_use]
pub fn compact(seconds: u64) -> String {
    let (year, month, day, hour, minute, second) = civil(seconds);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// `2026-09-12 07:55 UTC`.
#[must_use]
pub fn readable(seconds: u64) -> String {
    let (year, month, day, hour, minute, _) = civil(seconds);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_of_release_files_are_read_and_others_refused() {
        for (text, expected) in [
            ("Sat, 12 Sep 2026 07:55:41 UTC", Some(1_789_199_741)),
            ("Thu, 01 Jan 1970 00:00:00 +0000", Some(0)),
            ("Thu, 29 Feb 2024 23:59:59 GMT", Some(1_709_251_199)),
            ("Wed, 29 Feb 2023 23:59:59 GMT", None),
            ("Sat, 12 Sep 2026 07:55:41 CEST", None),
            ("Sat, 12 Sep 2026 07:55 UTC", None),
            ("Sat, 12 Sep 20266 07:55:41 UTC", None),
            ("12 13 2026 07:55:41 UTC", None),
            ("", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
        assert_eq!(compact(1_789_199_741), "20260912T075541Z");
        assert_eq!(readable(1_789_199_741), "2026-09-12 07:55 UTC");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(seconds in 0_u64..253_402_300_800) {
            let (year, month, day, hour, minute, second) = civil(seconds);
            let name = MONTHS[month as usize - 1];
            let text = format!("Mon, {day:02} {name} {year:04} {hour:02}:{minute:02}:{second:02} UTC");
            prop_assert_eq!(parse(&text), Some(seconds));
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = parse(&text);
        }
    }
}
