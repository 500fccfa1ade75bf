//! Who may do what: one table, and one gate that reads it.
//!
//! The gate is passed inside the transaction that does what is asked, on the state that it changes: whoever is deleted loses
//! their rights with the very next command. What it returns, [`Allowed`], is what everything behind it demands by type.

use std::collections::BTreeSet;
use std::fmt;

use identity::Identifier;
use serde::Serialize;

use crate::problem::Problem;
use crate::store::{View, query};

/// What somebody has to be. Each one may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Nobody in particular: no authentication is asked for.
    Public,
    /// Anybody who proved who they are.
    Anyone,
    /// Somebody with a row among the members.
    Member,
    /// A member whose `ockam-role` is exactly `enroller`.
    Enroller,
    /// An enroller too, unless [`Rules`] keep the two apart.
    Admin,
    /// Whoever runs the authority, at the machine itself. Never a caller over the network.
    Operator,
}

impl Role {
    /// Every role, in order.
    pub const ALL: [Self; 6] =
        [Self::Public, Self::Anyone, Self::Member, Self::Enroller, Self::Admin, Self::Operator];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Anyone => "anyone",
            Self::Member => "member",
            Self::Enroller => "enroller",
            Self::Admin => "admin",
            Self::Operator => "operator",
        }
    }
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $role:ident;)*) => {
        /// What can be asked of an authority.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Action { $($(#[$doc])* $name,)* }

        impl Action {
            /// Every action.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word for it, in the audit log too. Never changes.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// What somebody has to be to do it: the table.
            #[must_use]
            pub const fn role(self) -> Role {
                match self { $(Self::$name => Role::$role,)* }
            }
        }
    };
}

actions! {
    /// Read the authority's change history and issuer bundle.
    ReadIssuer = "issuer-read", Public;
    /// Show one's change history to the authority.
    Meet = "history-show", Anyone;
    /// Become a member by a ticket.
    Enrol = "enrol", Anyone;
    /// Get a credential about oneself.
    GetCredential = "credential-issue", Member;
    /// Add a member, or replace a member's attributes.
    AddMember = "member-add", Enroller;
    /// List members.
    ListMembers = "member-list", Enroller;
    /// Look at one member.
    ShowMember = "member-show", Enroller;
    /// Delete a member.
    DeleteMember = "member-delete", Enroller;
    /// Delete every member that the caller may delete, but the caller.
    DeleteMembers = "member-delete-all", Enroller;
    /// Make an enrolment ticket.
    MakeTicket = "ticket-make", Enroller;
    /// List enrolment tickets.
    ListTickets = "ticket-list", Enroller;
    /// Revoke an enrolment ticket.
    RevokeTicket = "ticket-revoke", Enroller;
    /// Read how the authority is doing.
    ReadStatus = "status-read", Enroller;
    /// Give the attribute `ockam-role`, replace a member who has it, or delete one.
    ChangeRoles = "role-change", Admin;
    /// Replace the attributes of a pre-trusted member.
    ReplacePreTrusted = "pre-trusted-replace", Admin;
    /// Put the pre-trusted members in place, at start.
    LoadPreTrusted = "pre-trusted-load", Operator;
    /// Put new issuer keys in place.
    ReplaceIssuer = "issuer-replace", Operator;
    /// Take the clock for right, though the store has seen a later time.
    AcceptClock = "clock-accept", Operator;
    /// List conflicts between change histories.
    ListConflicts = "conflict-list", Operator;
    /// Decide a conflict.
    ResolveConflict = "conflict-resolve", Operator;
    /// List intents to issue without a recorded credential.
    ListOrphans = "orphan-list", Operator;
    /// Read the audit log.
    ReadAudit = "audit-read", Operator;
}

/// How admins are told from enrollers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// When set, an enroller is not an admin by that alone; otherwise every enroller is one.
    pub enforce_admin: bool,
    /// Admins by name, whether members or not. An admin is an enroller and a member too.
    pub admins: BTreeSet<Identifier>,
}

/// Who does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// Whoever runs the authority.
    Operator,
    /// An identity that proved itself.
    Identity(Identifier),
}

impl Actor {
    /// The identity, when it is one.
    #[must_use]
    pub fn identifier(&self) -> Option<Identifier> {
        match self {
            Self::Operator => None,
            Self::Identity(identifier) => Some(*identifier),
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator => f.write_str("operator"),
            Self::Identity(identifier) => identifier.fmt(f),
        }
    }
}

/// Proof that the gate let this actor do this: only [`authorise`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct Allowed<'a> {
    actor: &'a Actor,
    action: Action,
}

impl<'a> Allowed<'a> {
    /// Who.
    #[must_use]
    pub fn actor(&self) -> &'a Actor {
        self.actor
    }

    /// What.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }
}

/// The gate.
///
/// # Errors
/// [`Problem::Forbidden`] when the actor is not what the action's role asks for, or when two change histories of theirs
/// contradict each other; a fault when the store fails.
pub fn authorise<'a>(
    view: &dyn View,
    rules: &Rules,
    actor: &'a Actor,
    action: Action,
) -> Result<Allowed<'a>, Problem> {
    if let Some(identifier) = actor.identifier()
        && query::conflict(view, &identifier)?.is_some_and(|conflict| conflict.decided.is_none())
    {
        return Err(Problem::forbidden(
            "two change histories of this identity contradict each other: the authority's operator has to decide",
        ));
    }
    if role_of(view, rules, actor)? >= action.role() {
        return Ok(Allowed { actor, action });
    }
    Err(Problem::forbidden(match action.role() {
        Role::Public | Role::Anyone => "not allowed",
        // The words that clients of the reference know.
        Role::Member => "unauthorized member",
        Role::Enroller => "only an enroller may do this",
        Role::Admin => "only an admin may do this",
        Role::Operator => "only the authority's operator may do this",
    }))
}

/// The highest role of an actor, in the state that is looked at.
///
/// # Errors
/// A fault when the store fails.
pub fn role_of(view: &dyn View, rules: &Rules, actor: &Actor) -> Result<Role, Problem> {
    let Some(identifier) = actor.identifier() else {
        return Ok(Role::Operator);
    };
    if rules.admins.contains(&identifier) {
        return Ok(Role::Admin);
    }
    Ok(match query::member(view, &identifier)? {
        Some(member) if member.attributes.make_an_enroller() => {
            if rules.enforce_admin {
                Role::Enroller
            } else {
                Role::Admin
            }
        }
        Some(_) => Role::Member,
        None => Role::Anyone,
    })
}
