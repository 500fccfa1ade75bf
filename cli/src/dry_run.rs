//! What a command that destroys would do, told instead of done.

use serde_json::{Value, json};

use crate::exit::Kind;
use crate::output::{Report, table};

/// What would be gone, what would stay although one might think otherwise, and what stands in the way.
#[derive(Debug, Default)]
pub(crate) struct Preview {
    destroyed: Vec<String>,
    kept: Vec<String>,
    needed_by: Vec<String>,
}

impl Preview {
    pub(crate) fn destroys(&mut self, what: impl Into<String>) {
        self.destroyed.push(what.into());
    }

    pub(crate) fn keeps(&mut self, what: impl Into<String>) {
        self.kept.push(what.into());
    }

    /// The command would be refused for this.
    pub(crate) fn needed_by(&mut self, what: impl Into<String>) {
        self.needed_by.push(what.into());
    }

    /// The report; of a refusal, when the command itself would be refused.
    pub(crate) fn report(self) -> Report {
        let refused = !self.needed_by.is_empty();
        let rows: Vec<_> =
            [("destroyed", &self.destroyed), ("kept", &self.kept), ("needed by", &self.needed_by)]
                .into_iter()
                .flat_map(|(name, values)| values.iter().map(move |value| (name, value.clone())))
                .collect();
        let title = if refused {
            "nothing was changed, and this would be refused: it is needed"
        } else {
            "nothing was changed; this is what would be done"
        };
        let machine = [self.destroyed.as_slice(), &self.needed_by].concat().join("\n");
        let json: Value = json!({
            "dry_run": true,
            "destroyed": self.destroyed,
            "kept": self.kept,
            "needed_by": self.needed_by,
            "refused": refused,
        });
        let report = Report::new(format!("{title}\n{}", table(&rows)), json).machine(machine);
        if refused { report.refusing(Kind::Denied) } else { report }
    }
}
