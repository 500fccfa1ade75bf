//! Durations as they are typed: a number and `d`, `h`, `m`, `s` or `ms`; a bare number is seconds.

use std::time::Duration;

/// Reads a duration. Nothing may stand before the number or after the unit.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let bad = || {
        "a duration is a number and one of d, h, m, s, ms, as in `30m`; a bare number is seconds".to_owned()
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    let seconds = match unit {
        "ms" => return Ok(Duration::from_millis(number)),
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(bad()),
    };
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| "the duration is too long".to_owned())
}

/// Reads a duration of whole seconds, at least one.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    match parse(text)?.as_secs() {
        0 => Err("the duration has to be a second at least".to_owned()),
        seconds => Ok(seconds),
    }
}

/// Reads a duration of whole seconds that may be zero.
pub(crate) fn seconds_or_none(text: &str) -> Result<u64, String> {
    parse(text).map(|duration| duration.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_reference_reads_and_nothing_around_it() {
        for (text, millis) in [
            ("0", 0),
            ("90", 90_000),
            ("5s", 5000),
            ("30m", 1_800_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            ("250ms", 250),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in [
            "",
            "m",
            "-1",
            "+1",
            "x5m",
            "5 m",
            "5m ",
            "5mm",
            "5M",
            "1h30m",
            "1.5h",
            "99999999999999999999",
            "\u{0665}s",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&format!("{}d", u64::MAX)).is_err());
        assert!(seconds("0").is_err() && seconds("999ms").is_err());
        assert_eq!((seconds("1m"), seconds_or_none("0")), (Ok(60), Ok(0)));
    }
}
