//! What the control socket answers about change histories that contradict each other, as members showed them.

use authority::service::{Authority, Operator};
use authority::store::{Conflict, Decision};
use home::control::ConflictPage;
use home::{Decided, Side};
use identity::Identifier;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::error::Result;

/// How many bytes of histories a page has before it ends: as hex they are twice as many, and an answer has a limit.
const PAGE_BYTES: usize = 256 * 1024;

/// A page of conflicts.
pub(super) fn list(
    runtime: &Handle,
    authority: &Authority,
    operator: &Operator,
    mut after: Option<Identifier>,
) -> Result<Value> {
    let (mut items, mut bytes) = (Vec::new(), 0);
    while bytes < PAGE_BYTES {
        // One by one: each may be as large as all the others.
        let page = runtime.block_on(authority.conflicts(operator, after.as_ref(), 1))?;
        after = page.next;
        for conflict in page.items {
            bytes += conflict.known.as_bytes().len() + conflict.shown.as_bytes().len();
            items.push((conflict.identifier, told(&conflict)));
        }
        if after.is_none() {
            break;
        }
    }
    Ok(serde_json::to_value(ConflictPage { items, next: after })?)
}

/// The conflict about an identity.
pub(super) fn show(
    runtime: &Handle,
    authority: &Authority,
    operator: &Operator,
    of: &Identifier,
) -> Result<Value> {
    let conflict = runtime.block_on(authority.conflict(operator, of))?;
    Ok(serde_json::to_value(told(&conflict))?)
}

/// Decides a conflict.
pub(super) fn decide(
    runtime: &Handle,
    authority: &Authority,
    operator: &Operator,
    of: &Identifier,
    keep: Side,
) -> Result<Value> {
    let decision = match keep {
        Side::Known => Decision::KeepKnown,
        Side::Shown => Decision::TakeShown,
    };
    runtime.block_on(authority.resolve_conflict(operator, of, decision))?;
    tracing::info!(identifier = %of, kept = keep.name(), "a conflict between change histories is decided");
    Ok(json!({}))
}

/// A conflict as a home tells it.
fn told(conflict: &Conflict) -> home::Conflict {
    let decided = conflict.decided.map(|decided| Decided {
        kept: match decided.decision {
            Decision::KeepKnown => Side::Known,
            Decision::TakeShown => Side::Shown,
        },
        at: decided.at,
    });
    home::Conflict {
        known: hex::encode(conflict.known.as_bytes()),
        shown: hex::encode(conflict.shown.as_bytes()),
        at: conflict.at,
        decided,
    }
}
