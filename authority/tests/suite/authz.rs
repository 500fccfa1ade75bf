//! Who may do what: the table, and what comes of every method for every kind of caller, as golden files.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use crate::common::{World, attributes, enroller, memory, person, rotated};
use authority::Problem;
use authority::authz::{Action, Actor, Role, Rules, authorise};
use authority::service::Caller;
use authority::ticket::{Code, NewTicket};
use identity::Identifier;

pub(crate) fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert!(found == expected, "{name} differs from what was found:\n{found}");
}

#[test]
fn the_table_is_what_was_agreed() {
    let mut table = String::from("action                 least role  ");
    for role in Role::ALL {
        write!(table, " {}", role.name()).unwrap();
    }
    table.push('\n');
    for action in Action::ALL {
        write!(table, "{:<22} {:<11}", action.word(), action.role().name()).unwrap();
        for role in Role::ALL {
            let mark = if role >= action.role() { "x" } else { "." };
            write!(table, "  {mark:<width$}", width = role.name().len() - 1).unwrap();
        }
        table.truncate(table.trim_end().len());
        table.push('\n');
    }
    golden("authz.txt", &table);
    let words: BTreeSet<_> = Action::ALL.iter().map(|action| action.word()).collect();
    assert_eq!(words.len(), Action::ALL.len(), "words are distinct");
}

/// One thing to do, the action that it is an instance of, and what comes of it.
async fn attempt(world: &World, action: Action, caller: &Caller, target: Identifier) -> Result<(), Problem> {
    let authority = &world.authority;
    let ticket = |attributes| NewTicket::new(attributes, None, None).unwrap();
    match action {
        Action::ReadIssuer => {
            assert_eq!(authority.issuer_bundle().identifier(), authority.identifier());
            Ok(())
        }
        Action::Meet => authority.meet(caller.identity().clone()).await.map(drop),
        Action::Enrol => {
            let made = authority.make_ticket(&world.enroller().await, ticket(attributes(&[]))).await.unwrap();
            match authority.enrol(caller, &made.code).await {
                // Whoever is a member already was let through the gate.
                Err(Problem::Conflict(words)) if words == "already a member" => Ok(()),
                other => other,
            }
        }
        Action::GetCredential => authority.credential(caller).await.map(drop),
        Action::AddMember => authority.add_member(caller, target, attributes(&[("a", "b")])).await,
        Action::ChangeRoles => authority.add_member(caller, target, enroller()).await,
        Action::ReplacePreTrusted => {
            let pre_trusted = *world.authority.settings().pre_trusted.last_key_value().unwrap().0;
            authority.add_member(caller, pre_trusted, attributes(&[])).await
        }
        Action::ListMembers => {
            authority.members(caller, None, 1).await?;
            authority.member_ids(caller, None, 1).await.map(drop)
        }
        Action::ShowMember => {
            authority.add_member(&world.enroller().await, target, attributes(&[])).await.unwrap();
            authority.member(caller, &target).await.map(drop)
        }
        Action::DeleteMember => {
            authority.add_member(&world.enroller().await, target, attributes(&[])).await.unwrap();
            authority.delete_member(caller, &target).await
        }
        Action::DeleteMembers => authority.delete_members(caller).await.map(drop),
        Action::MakeTicket => authority.make_ticket(caller, ticket(attributes(&[]))).await.map(drop),
        Action::ListTickets => authority.tickets(caller, None, 1).await.map(drop),
        Action::RevokeTicket => {
            let made = authority.make_ticket(&world.enroller().await, ticket(attributes(&[]))).await.unwrap();
            authority.revoke_ticket(caller, &made.ticket.reference).await
        }
        Action::ReadStatus => authority.status(caller).await.map(drop),
        // These take an `Operator`, which no caller is: there is nothing to call. The gate itself is asked.
        Action::LoadPreTrusted
        | Action::ReplaceIssuer
        | Action::AcceptClock
        | Action::ListConflicts
        | Action::ResolveConflict
        | Action::ListOrphans
        | Action::ReadAudit => {
            let view = world.held.store.view()?;
            let actor = Actor::Identity(caller.identifier());
            authorise(view, &authority.settings().rules, &actor, action).map(drop)
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Who {
    Stranger,
    Member,
    Enroller,
    PreTrustedAdmin,
    NamedAdmin,
    BlockedEnroller,
}

const EVERYBODY: [Who; 6] =
    [Who::Stranger, Who::Member, Who::Enroller, Who::PreTrustedAdmin, Who::NamedAdmin, Who::BlockedEnroller];

/// A fresh authority for each cell, so that none sees what another did.
async fn cell(enforce_admin: bool, who: Who, action: Action) -> &'static str {
    let mut admin = None;
    let vault: std::sync::Arc<dyn vault::Vault> =
        std::sync::Arc::new(vault::soft::SoftVault::in_memory().unwrap());
    let named = person(&vault).await;
    let world = World::with(memory, vault.clone(), |settings| {
        let quiet = Identifier::from_bytes([0xff; 32]);
        settings.pre_trusted.insert(quiet, attributes(&[]));
        // The world's own enroller has to be able to prepare everything.
        let admins = settings.pre_trusted.keys().copied().chain([named.identity.identifier()]).collect();
        settings.rules = Rules { enforce_admin, admins };
        admin = settings.pre_trusted.first_key_value().map(|(identifier, _)| *identifier);
    })
    .await;
    let caller = match who {
        Who::Stranger => world.stranger().await.1,
        Who::Member => world.member(&[("a", "b")]).await.1,
        Who::Enroller => world.member(&[("ockam-role", "enroller")]).await.1,
        Who::PreTrustedAdmin => world.enroller().await,
        Who::NamedAdmin => world.meet(&named).await,
        Who::BlockedEnroller => {
            let (first, _) = world.member(&[("ockam-role", "enroller")]).await;
            let one = rotated(&first, &world.vault, crate::common::NOW).await;
            let two = rotated(&first, &world.vault, crate::common::NOW).await;
            let caller = world.meet(&one).await;
            world.authority.meet(two.identity.clone()).await.unwrap_err();
            caller
        }
    };
    match attempt(&world, action, &caller, Identifier::from_bytes([7; 32])).await {
        Ok(()) => "ok",
        Err(problem) => problem.code(),
    }
}

#[tokio::test]
async fn every_action_for_everybody() {
    let mut matrix = String::new();
    for enforce_admin in [false, true] {
        writeln!(matrix, "enforce_admin: {enforce_admin}").unwrap();
        for action in Action::ALL {
            write!(matrix, "  {:<22}", action.word()).unwrap();
            for who in EVERYBODY {
                write!(matrix, " {who:?}={}", cell(enforce_admin, who, *action).await).unwrap();
            }
            matrix.push('\n');
        }
    }
    golden("authz-matrix.txt", &matrix);
}

#[tokio::test]
async fn a_plain_enroller_changes_no_roles() {
    let world =
        World::with(memory, std::sync::Arc::new(vault::soft::SoftVault::in_memory().unwrap()), |settings| {
            settings.rules.enforce_admin = true;
        })
        .await;
    let authority = &world.authority;
    let plain = world.enroller().await;
    let pre_trusted = plain.identifier();
    let target = Identifier::from_bytes([7; 32]);
    let forbidden = |answer: Result<(), Problem>| assert_eq!(answer.unwrap_err().code(), "forbidden");

    // Not by adding, not by a ticket, whatever the value; not by replacing; not by deleting.
    for value in ["enroller", "", "something"] {
        let role = attributes(&[("ockam-role", value), ("a", "b")]);
        forbidden(authority.add_member(&plain, target, role.clone()).await);
        let ticket = NewTicket::new(role, None, None).unwrap();
        forbidden(authority.make_ticket(&plain, ticket).await.map(drop));
    }
    forbidden(authority.add_member(&plain, pre_trusted, attributes(&[])).await);
    forbidden(authority.delete_member(&plain, &pre_trusted).await);
    // Anything else may be granted.
    authority
        .add_member(&plain, target, attributes(&[("ockam-relay", "*"), ("Ockam-Role", "x")]))
        .await
        .unwrap();
}

#[tokio::test]
async fn whoever_is_deleted_can_do_nothing_more() {
    let world = World::new(memory).await;
    let (_, second) = world.member(&[("ockam-role", "enroller")]).await;
    let new = || NewTicket::new(attributes(&[]), None, None).unwrap();
    world.authority.make_ticket(&second, new()).await.unwrap();
    world.authority.credential(&second).await.unwrap();
    world.authority.delete_member(&world.enroller().await, &second.identifier()).await.unwrap();
    assert_eq!(world.authority.make_ticket(&second, new()).await.unwrap_err().code(), "forbidden");
    assert_eq!(world.authority.credential(&second).await.unwrap_err().to_string(), "unauthorized member");
    let code = Code::generate().unwrap();
    assert_eq!(
        world.authority.enrol(&second, &code).await.unwrap_err().to_string(),
        "unknown enrollment token"
    );
}
