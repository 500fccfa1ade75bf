//! What valgrind reports.

use std::fmt;

/// A jump or an address that depends on something secret, and the calls that led to it, innermost first. Inlined ones are
/// among them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finding {
    what: String,
    frames: Vec<String>,
}

impl Finding {
    /// Whether it is in the first of these, and that was called by the others, in this order.
    pub(crate) fn is_in(&self, calls: &[&str]) -> bool {
        let mut frames = self.frames.iter();
        let Some((first, outer)) = calls.split_first() else { return false };
        frames.next().is_some_and(|frame| frame.contains(first))
            && outer.iter().all(|call| frames.any(|frame| frame.contains(call)))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "    {}", self.what)?;
        self.frames.iter().take(12).try_for_each(|frame| writeln!(f, "        {frame}"))
    }
}

/// Reads a report: `==PID== what`, then `==PID==    at 0x…: function (file:line)` and `by` the same.
pub(crate) fn read(report: &str) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let mut open = false;
    for line in report.lines() {
        let Some(text) =
            line.strip_prefix("==").and_then(|rest| rest.split_once("== ")).map(|(_, text)| text)
        else {
            open = false;
            continue;
        };
        let trimmed = text.trim_start();
        if (trimmed.starts_with("Use of uninitialised") || trimmed.contains("depends on uninitialised"))
            && !text.starts_with(' ')
        {
            findings.push(Finding { what: trimmed.to_owned(), frames: Vec::new() });
            open = true;
        } else if let Some(frame) = trimmed.strip_prefix("at 0x").or_else(|| trimmed.strip_prefix("by 0x"))
            && open
            && let Some(finding) = findings.last_mut()
        {
            finding.frames.push(frame.split_once(": ").map_or(frame, |(_, name)| name).to_owned());
        } else {
            open = false;
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read() {
        let report = "\
==7== Memcheck, a memory error detector
==7== 
==7== Conditional jump or move depends on uninitialised value(s)
==7==    at 0x1234: inner (one.rs:5)
==7==    by 0x1235: outer (two.rs:6)
==7== 
==7== Use of uninitialised value of size 8
==7==    at 0x1236: table (three.rs:7)
==7== 
==7== Use --track-origins=yes to see where uninitialised values come from
==7== ERROR SUMMARY: 2 errors from 2 contexts (suppressed: 0 from 0)
";
        let findings = read(report);
        assert_eq!(findings.len(), 2);
        assert!(findings[0].is_in(&["inner (one.rs", "outer"]) && findings[0].is_in(&["", "outer"]));
        assert!(!findings[0].is_in(&["outer"]) && !findings[0].is_in(&["inner", "inner"]));
        assert!(findings[1].is_in(&["table"]) && !findings[1].is_in(&[]));
    }
}
