//! `conflict …`: two signed histories of one identity, and which of them counts.

use home::{Conflict, Home, Side};
use identity::{Change, Identifier};
use serde_json::{Value, json};

use super::identity::{change_json, change_rows};
use super::resolve;
use crate::args::conflict::{Decide, Keep, Show, Verb};
use crate::context::Context;
use crate::dry_run::Preview;
use crate::error::{Error, Result};
use crate::exit::Kind;
use crate::output::{Report, blocks, table, time};

pub(crate) fn run(context: &Context, verb: Verb) -> Result<Report> {
    match verb {
        Verb::List => list(context),
        Verb::Show(show) => self::show(context, &show),
        Verb::Decide(decide) => self::decide(context, &decide),
    }
}

fn list(context: &Context) -> Result<Report> {
    let (mut plain, mut items, mut machine) = (Vec::new(), Vec::new(), Vec::new());
    for (identifier, conflict) in context.read()?.conflicts()? {
        let parted = Parted::of(&conflict)?;
        let mut rows = rows(&identifier, &conflict);
        rows.push(("changes in common", parted.common.to_string()));
        plain.push(table(&rows));
        items.push(parted.json(&identifier, &conflict));
        machine.push(identifier.to_string());
    }
    Ok(Report::new(blocks(&plain, "there are no conflicts"), Value::Array(items)).machine(machine.join("\n")))
}

fn show(context: &Context, show: &Show) -> Result<Report> {
    let (identifier, conflict) = find(context.read()?, &show.about)?;
    let parted = Parted::of(&conflict)?;
    let mut plain = vec![table(&rows(&identifier, &conflict))];
    for (title, changes) in [("known", &parted.known), ("shown", &parted.shown)] {
        let text = format!("{title}, after {} changes in common", parted.common);
        plain.push(
            text + "\n\n"
                + &changes.iter().map(|change| table(&change_rows(change))).collect::<Vec<_>>().join("\n\n"),
        );
    }
    Ok(Report::new(plain.join("\n\n"), parted.json(&identifier, &conflict)).machine(plain.join("\n\n")))
}

fn decide(context: &Context, decide: &Decide) -> Result<Report> {
    let home = context.home()?;
    let (identifier, conflict) = find(home, &decide.about)?;
    let kept = decide.keep.map(|keep| match keep {
        Keep::Known => Side::Known,
        Keep::Shown => Side::Shown,
    });
    if decide.dry_run {
        return Ok(preview(&identifier, &conflict, kept)?.report());
    }
    // A decision can be changed, since the evidence stays; what is forgotten is gone.
    if kept.is_none() {
        let question =
            format!("Forget both histories of {identifier}? The next one that is shown is believed.");
        context.confirm(decide.yes, &question)?;
    }
    let writer = context.writer()?;
    let said = match kept {
        Some(side) => {
            home.decide_conflict(&writer, &identifier, side, context.now())?;
            format!("the {} history of {identifier} counts from now on", side.name())
        }
        None => {
            home.forget_conflict(&writer, &identifier)?;
            format!("both histories of {identifier} are forgotten")
        }
    };
    let json = json!({ "identifier": identifier.to_string(), "kept": kept.map(Side::name) });
    Ok(Report::new(said, json).machine(identifier.to_string()))
}

fn preview(identifier: &Identifier, conflict: &Conflict, kept: Option<Side>) -> Result<Preview> {
    let mut preview = Preview::default();
    let Some(kept) = kept else {
        preview.destroys(format!("the evidence about {identifier}, for good"));
        preview
            .destroys(format!("what is known of {identifier}: the next history that is shown is believed"));
        return Ok(preview);
    };
    let history = conflict.history(kept)?;
    preview.keeps(format!(
        "the {} history of {identifier}, {} changes, the latest {}",
        kept.name(),
        history.len(),
        history.latest().hash()
    ));
    preview.keeps("the other history, as evidence; whoever shows it is refused");
    Ok(preview)
}

/// The conflict about whoever was named.
fn find(home: &Home, about: &str) -> Result<(Identifier, Conflict)> {
    let identifier = resolve::identifier(home, about)?;
    match home.conflict_about(&identifier) {
        Err(e) if e.kind() == home::Kind::NotFound => {
            Err(Error::new(Kind::NotFound, format!("there is no conflict about `{identifier}`"))
                .with_hint("`ockam-kms conflict list` shows those that there are"))
        }
        found => Ok((identifier, found?)),
    }
}

fn rows(identifier: &Identifier, conflict: &Conflict) -> Vec<(&'static str, String)> {
    let decided = match conflict.decided {
        Some(decided) => format!("for the {} history, at {}", decided.kept.name(), time(decided.at)),
        None => "not yet: it is blocked".to_owned(),
    };
    vec![("identifier", identifier.to_string()), ("met at", time(conflict.at)), ("decided", decided)]
}

/// Two histories, from where they part.
struct Parted {
    common: usize,
    known: Vec<Change>,
    shown: Vec<Change>,
}

impl Parted {
    fn of(conflict: &Conflict) -> Result<Self> {
        let (known, shown) = (conflict.history(Side::Known)?, conflict.history(Side::Shown)?);
        let alike = known.changes().zip(shown.changes()).take_while(|(a, b)| a.hash() == b.hash());
        let common = alike.count();
        let rest = |identity: &identity::Identity| identity.changes().skip(common).cloned().collect();
        Ok(Self { common, known: rest(&known), shown: rest(&shown) })
    }

    fn json(&self, identifier: &Identifier, conflict: &Conflict) -> Value {
        let side = |hex: &str, changes: &[Change]| json!({ "change_history": hex, "changes_apart": changes.iter().map(change_json).collect::<Vec<_>>() });
        json!({
            "identifier": identifier.to_string(),
            "at": conflict.at.0,
            "decided": conflict.decided.map(|decided| json!({ "kept": decided.kept.name(), "at": decided.at.0 })),
            "changes_in_common": self.common,
            "known": side(&conflict.known, &self.known),
            "shown": side(&conflict.shown, &self.shown),
        })
    }
}
