//! Which words are numbers, and what they are worth.
//!
//! The WebAssembly grammar admits hexadecimal floats and underscores in floats. The reference recognises
//! those as numbers and then fails to convert them; so do we, with a message that says what to write.

use alloc::string::String;

/// A word that is a number by its form.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Number {
    Int(i64),
    Float(f64),
    /// A number that cannot be used, and why.
    Refused(&'static str),
}

/// Reads `word` as a number; nothing when it is not one by its form, so that it may be a name.
pub(crate) fn read(word: &str) -> Option<Number> {
    let unsigned = word.strip_prefix(['+', '-']).unwrap_or(word);
    let negative = word.starts_with('-');
    match unsigned {
        "inf" => return Some(Number::Float(if negative { f64::NEG_INFINITY } else { f64::INFINITY })),
        "nan" => return Some(Number::Float(f64::NAN)),
        _ => {}
    }
    if let Some(payload) = unsigned.strip_prefix("nan:0x") {
        return match digits(payload, is_hex) {
            Some("") => Some(Number::Float(f64::NAN)),
            _ => None,
        };
    }

    let hex = unsigned.strip_prefix("0x");
    let good = if hex.is_some() { is_hex } else { is_decimal };
    let after_whole = digits(hex.unwrap_or(unsigned), good)?;
    if after_whole.is_empty() {
        return Some(int(unsigned, hex, negative));
    }
    if !is_fraction_and_exponent(after_whole, hex.is_some()) {
        return None;
    }
    Some(match word.parse() {
        _ if hex.is_some() => {
            Number::Refused("hexadecimal floats are not supported, write this one in decimal")
        }
        Ok(number) => Number::Float(number),
        Err(_) => Number::Refused("underscores are not supported in floats, leave them out"),
    })
}

fn int(unsigned: &str, hex: Option<&str>, negative: bool) -> Number {
    let sign = if negative { "-" } else { "" };
    let cleaned: String = sign.chars().chain(hex.unwrap_or(unsigned).chars().filter(|c| *c != '_')).collect();
    match i64::from_str_radix(&cleaned, if hex.is_some() { 16 } else { 10 }) {
        Ok(number) => Number::Int(number),
        Err(_) => Number::Refused("this integer does not fit into 64 bits"),
    }
}

/// What may follow the whole part of a float: `[. [digits]] [e [sign] digits]` and nothing else.
fn is_fraction_and_exponent(text: &str, hex: bool) -> bool {
    let good = if hex { is_hex } else { is_decimal };
    let after_fraction = match text.strip_prefix('.') {
        Some(fraction) if fraction.starts_with(good) => match digits(fraction, good) {
            Some(rest) => rest,
            None => return false,
        },
        Some(rest) => rest,
        None => text,
    };
    if after_fraction.is_empty() {
        return true;
    }
    let Some(exponent) = after_fraction.strip_prefix(if hex { ['p', 'P'] } else { ['e', 'E'] }) else {
        return false;
    };
    digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent), is_decimal) == Some("")
}

/// Steps over digits with single underscores between them and returns what follows; nothing when there
/// is no digit, or an underscore without a digit after it.
fn digits(text: &str, good: fn(char) -> bool) -> Option<&str> {
    let mut after_digit = false;
    for (at, c) in text.char_indices() {
        match c {
            c if good(c) => after_digit = true,
            '_' if after_digit => after_digit = false,
            _ => return text.get(at..).filter(|_| after_digit),
        }
    }
    after_digit.then_some("")
}

fn is_hex(c: char) -> bool {
    c.is_ascii_hexdigit()
}

fn is_decimal(c: char) -> bool {
    c.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_in_every_notation() {
        for (word, number) in [
            ("0", 0),
            ("+5", 5),
            ("-5", -5),
            ("007", 7),
            ("1_000_000", 1_000_000),
            ("0x10", 16),
            ("-0xfF", -255),
            ("0x1_0", 16),
            ("0x1e5", 0x1e5),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("-0x8000000000000000", i64::MIN),
        ] {
            assert_eq!(read(word), Some(Number::Int(number)), "{word}");
        }
    }

    #[test]
    fn floats_in_decimal_only() {
        for (word, number) in [
            ("1.5", 1.5),
            ("1.", 1.0),
            ("-1.e2", -100.0),
            ("1e3", 1000.0),
            ("+1.5E+3", 1500.0),
            ("1e-2", 0.01),
            ("1e999", f64::INFINITY),
            ("inf", f64::INFINITY),
            ("-inf", f64::NEG_INFINITY),
        ] {
            assert_eq!(read(word), Some(Number::Float(number)), "{word}");
        }
        for word in ["nan", "-nan", "+nan", "nan:0x1", "-nan:0x7f_ff"] {
            assert!(matches!(read(word), Some(Number::Float(number)) if number.is_nan()), "{word}");
        }
    }

    #[test]
    fn numbers_by_form_that_cannot_be_used() {
        for word in
            ["9223372036854775808", "0xffffffffffffffff", "1_0.5", "1.5_5", "1e1_0", "0x1.8", "0x1p4", "0x1."]
        {
            assert!(matches!(read(word), Some(Number::Refused(_))), "{word}");
        }
    }

    #[test]
    fn words_that_are_no_numbers() {
        for word in [
            "", "+", "-", "_1", "1_", "1__0", "0x", "0x_1", "0xg", "1e", "1e+", "1e5x", "1.5.5", "1a",
            "infx", "nan:", "nan:0x", "nan:0xg", "nan:0x1_", "--1", "1p4", "0x1e+5", ".5", "1._5",
        ] {
            assert_eq!(read(word), None, "{word}");
        }
    }
}
