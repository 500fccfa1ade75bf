//! Tables of expressions, environments and what they come to, one for each meaning.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use policy_lang::{Env, Meaning, Outcome, Policy, Value};

const TABLES: [(Meaning, &str, usize); 2] = [
    (Meaning::Exact, include_str!("golden/exact.txt"), 120),
    (Meaning::Strict, include_str!("golden/strict.txt"), 40),
];

struct Row<'a> {
    meaning: Meaning,
    line: usize,
    env: Env,
    form: &'a str,
    outcome: &'a str,
    text: &'a str,
}

fn rows() -> Vec<Row<'static>> {
    TABLES
        .into_iter()
        .flat_map(|(meaning, table, least)| {
            let rows = rows_of(meaning, table);
            assert!(rows.len() > least, "only {} rows were read", rows.len());
            rows
        })
        .collect()
}

fn rows_of(meaning: Meaning, table: &'static str) -> Vec<Row<'static>> {
    let (mut rows, mut env) = (Vec::new(), Env::new());
    for (index, line) in table.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
        } else if line.starts_with("env ") {
            env = Env::new();
        } else if let Some(binding) = line.strip_prefix("  ") {
            let (name, value) = binding.split_once(" = ").expect("name = value");
            env.bind(name, value_of(value));
        } else {
            let mut columns = line.splitn(3, " | ");
            let mut column = || columns.next().unwrap_or_else(|| panic!("line {}: three columns", index + 1));
            let (form, outcome, text) = (column(), column(), column());
            rows.push(Row { meaning, line: index + 1, env: env.clone(), form, outcome, text });
        }
    }
    rows
}

fn value_of(text: &str) -> Value {
    match (text, text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'))) {
        (_, Some(string)) => string.into(),
        ("true", _) => true.into(),
        ("false", _) => false.into(),
        (number, _) => number.parse::<i64>().expect("a string, a bool or a number").into(),
    }
}

fn found(row: &Row<'_>) -> (String, String) {
    match Policy::parse_as(row.text, row.meaning) {
        Err(error) => ("none".into(), format!("{:?}", error.kind())),
        Ok(policy) => {
            let outcome = match policy.evaluate(&row.env).outcome {
                Outcome::Other(value) => format!("other {value}"),
                Outcome::Error(error) => format!("error {:?}", error.kind()),
                plain => plain.name().into(),
            };
            (policy.form().to_string(), outcome)
        }
    }
}

#[test]
fn every_row_of_the_table_comes_to_what_it_says() {
    let rows = rows();
    let mut wrong = Vec::new();
    for row in &rows {
        let (form, outcome) = found(row);
        if (form.as_str(), outcome.as_str()) != (row.form, row.outcome) {
            let Row { meaning, line, text, .. } = row;
            wrong.push(format!("{meaning}.txt, line {line}: {form} | {outcome} | {text}"));
        }
    }
    assert!(wrong.is_empty(), "these differ:\n{}", wrong.join("\n"));
}

/// Every policy of the table prints as a text that means the same.
#[test]
fn every_policy_of_the_table_reads_back() {
    for row in rows() {
        let Ok(policy) = Policy::parse_as(row.text, row.meaning) else { continue };
        let again = Policy::parse_as(&policy.to_string(), row.meaning)
            .unwrap_or_else(|error| panic!("{policy}: {error}"));
        assert_eq!(again, policy, "line {}", row.line);
        assert_eq!(again.evaluate(&row.env).outcome.name(), policy.evaluate(&row.env).outcome.name());
    }
}
