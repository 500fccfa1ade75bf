//! What has to hold after a rotation was cut off and the next writer recovered.

use std::collections::BTreeMap;

use home::rotation::{Moment, Plan};
use identity::{Identity, Relation};

use super::{Held, Look};
use crate::judge::Judge;

/// How a rotation has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As if it had never begun.
    TakenBack,
    /// Rotated.
    Finished,
    /// One of the two.
    Either,
}

impl Ending {
    /// After a death that follows this moment and precedes the next: the signed change is in the journal, or cannot be, or
    /// was being written.
    #[must_use]
    pub fn after(last: Option<Moment>) -> Self {
        match last {
            Some(moment) if moment >= Moment::Signed => Self::Finished,
            Some(Moment::KeysSigned) => Self::Either,
            _ => Self::TakenBack,
        }
    }

    /// After a death right at this moment.
    #[must_use]
    pub fn at(moment: Moment) -> Self {
        if moment >= Moment::Signed { Self::Finished } else { Self::TakenBack }
    }
}

/// Everything that is wrong with what is left; nothing when all is well.
#[must_use]
pub fn violations(
    before: &Look,
    after: &Look,
    plan: &Plan,
    ending: Ending,
    judge: &mut Judge,
) -> Vec<String> {
    let mut wrong = Vec::new();
    wrong.extend(after.journals.iter().map(|file| format!("the journal `{file}` is still there")));
    wrong.extend(after.cannot.iter().cloned());
    let rotated = after.changes > before.changes;
    if rotated && ending == Ending::TakenBack || !rotated && ending == Ending::Finished {
        wrong.push(format!("{} changes became {}: {ending:?}", before.changes, after.changes));
    }
    if rotated {
        moved(before, after, plan, &mut wrong)
    } else {
        unmoved(before, after, &mut wrong)
    }
    keys(before, after, plan, rotated, &mut wrong);
    judged(before, after, judge, &mut wrong);
    wrong
}

/// A rotation that was taken back left the record as it was.
fn unmoved(before: &Look, after: &Look, wrong: &mut Vec<String>) {
    let record = |look: &Look| (look.history.clone(), look.primary.clone(), look.credential.clone());
    if record(before) != record(after) {
        wrong.push("the identity's record is another one without a change more".to_owned());
    }
}

/// A rotation that was finished has the key where the plan wants it, and the purpose keys that the plan wants.
fn moved(before: &Look, after: &Look, plan: &Plan, wrong: &mut Vec<String>) {
    if after.changes != before.changes + 1 {
        wrong.push(format!("{} changes became {}", before.changes, after.changes));
    }
    if after.primary.public == before.primary.public {
        wrong.push("the new key is the old one".to_owned());
    }
    let vault = plan.to_vault.as_ref().unwrap_or(&before.primary.vault);
    if after.primary.vault != *vault {
        wrong.push(format!("the new key is in `{}`, not in `{vault}`", after.primary.vault));
    }
    let relation = |known: &str, shown: &str| {
        Some(Identity::import_hex(shown).ok()?.compared_to(&Identity::import_hex(known).ok()?))
    };
    if relation(&before.history, &after.history) != Some(Relation::Newer) {
        wrong.push("the history does not continue the one of before".to_owned());
    }
    let key = |look: &Look| look.credential.as_ref().map(|(key, _)| key.clone());
    let wanted = key(before).filter(|_| !plan.revoke_purpose_keys);
    if key(after) != wanted {
        wrong.push(format!("the credential key is {:?} and should be {wanted:?}", key(after)));
    }
}

/// The vaults hold the identity's keys, and nothing else.
fn keys(before: &Look, after: &Look, plan: &Plan, rotated: bool, wrong: &mut Vec<String>) {
    let kept = Some(&before.primary).filter(|_| rotated && plan.keep_old_key);
    let named = [&after.primary].into_iter().chain(after.credential.iter().map(|(key, _)| key)).chain(kept);
    let mut expected: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for key in named {
        expected.entry(&key.vault).or_default().push(&key.public);
    }
    for (vault, Held { keys, odd, unfinished }) in &after.held {
        let mut missing = expected.remove(vault.as_str()).unwrap_or_default();
        for key in keys {
            match missing.iter().position(|public| public == key) {
                Some(position) => drop(missing.swap_remove(position)),
                None => wrong.push(format!("`{vault}` holds a key that nothing names: {key}")),
            }
        }
        wrong.extend(missing.into_iter().map(|key| format!("`{vault}` has lost the key {key}")));
        wrong.extend(odd.iter().map(|what| format!("`{vault}` holds {what}")));
        if *unfinished > 0 {
            wrong.push(format!("`{vault}` holds {unfinished} unfinished files or objects"));
        }
    }
    wrong.extend(expected.into_keys().map(|vault| format!("nobody looked into `{vault}`")));
}

/// The published crates accept the history as that of the same identifier, and what it vouches for.
fn judged(before: &Look, after: &Look, judge: &mut Judge, wrong: &mut Vec<String>) {
    if after.identifier != before.identifier {
        wrong.push(format!("the identity is `{}` and was `{}`", after.identifier, before.identifier));
    }
    match judge.history(&after.history, &before.identifier) {
        Ok(history) if history.identifier == before.identifier && history.changes == after.changes => {}
        Ok(other) => wrong.push(format!("ockam_identity reads the history as {other:?}")),
        Err(reason) => wrong.push(format!("ockam_identity refuses the history: {reason}")),
    }
    if let Some((key, attestation)) = &after.credential {
        match judge.credential_key(&after.history, attestation) {
            Ok(public) if public == key.public => {}
            Ok(public) => {
                wrong.push(format!("the attestation is for {public}, the credential key is {}", key.public))
            }
            Err(reason) => wrong.push(format!("ockam_identity refuses the attestation: {reason}")),
        }
    }
}
