//! `conflict …`: two signed histories of one identity, and which of them counts.

use home::control::{Ask, ConflictPage, ask};
use home::{Conflict, Home, Name, Side};
use identity::{Change, Identifier};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::identity::{change_json, change_rows};
use super::resolve;
use super::server;
use crate::args::conflict::{Decide, Keep, MetBy, Show, Verb};
use crate::context::Context;
use crate::dry_run::Preview;
use crate::error::{Error, Result};
use crate::exit::Kind;
use crate::output::{Report, blocks, table, time};

pub(crate) fn run(context: &Context, verb: Verb) -> Result<Report> {
    match verb {
        Verb::List(list) => self::list(&Place::of(context.read()?, &list.met)?),
        Verb::Show(show) => self::show(&Place::of(context.read()?, &show.met)?, &show),
        Verb::Decide(decide) => self::decide(context, &decide),
    }
}

/// Who met the conflicts: a home, or an authority that runs from it.
struct Place<'a> {
    home: &'a Home,
    authority: Option<Name>,
}

impl<'a> Place<'a> {
    fn of(home: &'a Home, met: &MetBy) -> Result<Self> {
        let authority = met.at.as_deref().map(|at| server::authority(home, Some(at))).transpose()?;
        Ok(Self { home, authority })
    }

    fn conflicts(&self) -> Result<Vec<(Identifier, Conflict)>> {
        let Some(authority) = &self.authority else { return Ok(self.home.conflicts()?) };
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page: ConflictPage = self.ask(authority, &Ask::Conflicts { after })?;
            all.extend(page.items);
            after = page.next;
            if after.is_none() {
                return Ok(all);
            }
        }
    }

    /// The conflict about whoever was named.
    fn find(&self, about: &str) -> Result<(Identifier, Conflict)> {
        let identifier = resolve::identifier(self.home, about)?;
        let (found, list) = match &self.authority {
            None => {
                let found = self.home.conflict_about(&identifier).map_err(Error::from);
                (found, "`ockam-kms conflict list`".to_owned())
            }
            Some(authority) => {
                let found = self.ask(authority, &Ask::Conflict { identifier });
                (found, format!("`ockam-kms conflict list --at {authority}`"))
            }
        };
        match found {
            Err(e) if e.kind() == Kind::NotFound => {
                Err(Error::new(Kind::NotFound, format!("there is no conflict about `{identifier}`"))
                    .with_hint(format!("{list} shows those that there are")))
            }
            found => Ok((identifier, found?)),
        }
    }

    fn ask<T: DeserializeOwned>(&self, authority: &Name, question: &Ask) -> Result<T> {
        let answer = ask(&self.home.control_socket(authority), question)?;
        serde_json::from_value(answer).map_err(|e| {
            Error::new(Kind::Malformed, format!("the answer of `{authority}` does not decode"))
                .with_hint("it runs another version of ockam-kms: start it again")
                .with_source(e)
        })
    }
}

fn list(place: &Place<'_>) -> Result<Report> {
    let (mut plain, mut items, mut machine) = (Vec::new(), Vec::new(), Vec::new());
    for (identifier, conflict) in place.conflicts()? {
        let parted = Parted::of(&conflict)?;
        let mut rows = rows(&identifier, &conflict);
        rows.push(("changes in common", parted.common.to_string()));
        plain.push(table(&rows));
        items.push(parted.json(&identifier, &conflict));
        machine.push(identifier.to_string());
    }
    Ok(Report::new(blocks(&plain, "there are no conflicts"), Value::Array(items)).machine(machine.join("\n")))
}

fn show(place: &Place<'_>, show: &Show) -> Result<Report> {
    let (identifier, conflict) = place.find(&show.about)?;
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
    let place = Place::of(home, &decide.met)?;
    let (identifier, conflict) = place.find(&decide.about)?;
    let kept = decide.keep.map(|keep| match keep {
        Keep::Known => Side::Known,
        Keep::Shown => Side::Shown,
    });
    if decide.dry_run {
        return Ok(preview(&identifier, &conflict, kept)?.report());
    }
    let said = match (&place.authority, kept) {
        (Some(authority), Some(keep)) => {
            let _: Value = place.ask(authority, &Ask::Decide { identifier, keep })?;
            format!("the {} history of {identifier} counts at `{authority}` from now on", keep.name())
        }
        (None, Some(side)) => {
            let writer = context.writer()?;
            home.decide_conflict(&writer, &identifier, side, context.now())?;
            format!("the {} history of {identifier} counts from now on", side.name())
        }
        (Some(_), None) => return Err(Error::usage("an authority forgets no conflict")),
        (None, None) => {
            // A decision can be changed, since the evidence stays; what is forgotten is gone.
            let question =
                format!("Forget both histories of {identifier}? The next one that is shown is believed.");
            context.confirm(decide.yes, &question)?;
            let writer = context.writer()?;
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
