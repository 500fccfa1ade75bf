//! The table, and the same as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{Facts, Measured};

/// What the reader has to know before the figures.
const NOTE: &str = "\
Contenders take turns in batches; the first of a row is ours. ns: median time for one operation of all callers together;
best: the fastest batch; cpu: processor time of the whole process for one operation. ours/this: our rate divided by this
one's in the same turn, the median of the turns: above 1 ours is faster, below 1 this one. The last column is the same
by processor time, and the one to believe when others use the machine. A bound is what the signatures alone cost. Times
depend on the machine and on what else it does; nothing passes or fails by them.";

/// What stands above the table.
#[must_use]
pub fn head(facts: &Facts) -> String {
    let versions: Vec<_> =
        facts.versions.iter().map(|(name, versions)| format!("{name} {}", versions.join(" and "))).collect();
    let module = facts.module.as_deref().unwrap_or("no token");
    let mut text =
        format!("{} · {} cores · load {:.1} · {module}\n", facts.processor, facts.cores, facts.load);
    let mut line = String::new();
    for version in versions {
        if line.len() + version.len() > 110 {
            let _ = writeln!(text, "{}", line.trim_end());
            line.clear();
        }
        let _ = write!(line, "{version}  ");
    }
    let _ = writeln!(text, "{}\n\n{NOTE}\n", line.trim_end());
    if !crate::facts::optimised() {
        text.push_str("THIS IS NOT A RELEASE BUILD: the figures mean nothing.\n\n");
    }
    let _ = writeln!(
        text,
        "{:<64} {:>11} {:>11} {:>11} {:>10} {:>10}",
        "", "ns", "best", "cpu", "per s", "ours/this"
    );
    text
}

/// One row of the table.
#[must_use]
pub fn row(name: &str, measured: &[Measured]) -> String {
    let mut text = format!("{name}\n");
    for (place, one) in measured.iter().enumerate() {
        let ratio = |ratio: f64| if place == 0 { String::new() } else { format!("{ratio:.2}") };
        let _ = writeln!(
            text,
            "  {:<62} {:>10} {:>10} {:>10} {:>8} {:>9} {:>6}",
            one.name,
            grouped(one.nanos.median),
            grouped(one.nanos.least),
            grouped(one.processor.median),
            grouped(1e9 / one.nanos.median),
            ratio(one.ratio.median),
            ratio(one.processor_ratio.median),
        );
    }
    text
}

/// Everything as JSON.
#[must_use]
pub fn json(facts: &Facts, rows: &[(String, Vec<Measured>)], not_run: &[String]) -> Value {
    let contender = |one: &Measured| {
        json!({
            "name": one.name,
            "operations": one.operations,
            "nanos": {"median": one.nanos.median, "least": one.nanos.least, "most": one.nanos.most},
            "processor_nanos": {"median": one.processor.median, "least": one.processor.least, "most": one.processor.most},
            "per_second": 1e9 / one.nanos.median,
            "ours_over_this": {"median": one.ratio.median, "least": one.ratio.least, "most": one.ratio.most},
            "ours_over_this_by_processor": {
                "median": one.processor_ratio.median,
                "least": one.processor_ratio.least,
                "most": one.processor_ratio.most,
            },
        })
    };
    let rows: Vec<_> = rows
        .iter()
        .map(|(name, measured)| json!({"name": name, "contenders": measured.iter().map(contender).collect::<Vec<_>>()}))
        .collect();
    json!({"facts": facts.json(), "rows": rows, "not_run": not_run})
}

/// A number in groups of three digits.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Figures;

    fn measured(name: &str, nanos: f64, ratio: f64) -> Measured {
        let figures = |median| Figures { median, least: median, most: median };
        Measured {
            name: name.to_owned(),
            operations: 10,
            nanos: figures(nanos),
            processor: figures(nanos),
            ratio: figures(ratio),
            processor_ratio: figures(2.0 * ratio),
        }
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0.0, "0"), (999.4, "999"), (1000.0, "1,000"), (1_234_567.0, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn ours_has_no_ratio_and_the_others_have() {
        let text = row("sign", &[measured("ours", 2000.0, 1.0), measured("theirs", 1000.0, 0.5)]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "sign");
        assert!(lines[1].ends_with(" 500,000                 "), "{text:?}");
        assert!(lines[2].ends_with(" 1,000,000      0.50   1.00"), "{text:?}");
    }

    #[test]
    fn the_json_has_every_figure() {
        let rows =
            [("sign".to_owned(), vec![measured("ours", 2000.0, 1.0), measured("theirs", 1000.0, 0.5)])];
        let value = json(&Facts::gather(), &rows, &["token".to_owned()]);
        let theirs = &value["rows"][0]["contenders"][1];
        assert_eq!(theirs["nanos"]["median"], 1000.0);
        assert_eq!(theirs["ours_over_this"]["median"], 0.5);
        assert_eq!(theirs["ours_over_this_by_processor"]["median"], 1.0);
        assert_eq!(theirs["per_second"], 1e6);
        assert_eq!(value["not_run"][0], "token");
        assert!(value["facts"]["cores"].as_u64().unwrap() >= 1);
    }
}
