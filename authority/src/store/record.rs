//! How records are written: one byte of format, then CBOR (docs/formats.md, "the authority's store"). What is read is checked
//! as if it came from a stranger: a damaged disk is one.

use std::collections::BTreeMap;

use identity::{ChangeHash, Identifier, MAX_BYTES, Timestamp};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::audit::{AuditHead, AuditRow};
use crate::error::{Error, Kind, Result};
use crate::member::{Member, MemberAttributes};
use crate::once::{Kept, Receipt};
use crate::store::command::{Conflict, Decided, Decision, Issued, KnownHistory};
use crate::ticket::{Reference, Ticket};

/// The format of every record that this version writes.
pub(crate) const FORMAT: u8 = 1;

/// The most bytes of a record: a conflict holds two histories of up to [`MAX_BYTES`].
const MAX_RECORD: usize = 3 * MAX_BYTES;

/// A record: what it is called in errors, and how it is made from what it says.
pub(crate) trait Record: Sized {
    const WHAT: &'static str;
    type Wire: Encode<()> + for<'b> Decode<'b, ()>;
    fn to_wire(&self) -> Self::Wire;
    fn from_wire(wire: Self::Wire) -> Option<Self>;
}

#[cfg(test)]
thread_local! {
    /// How many records this thread has decoded.
    pub(crate) static DECODED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

pub(crate) fn encode<R: Record>(record: &R) -> Result<Vec<u8>> {
    let mut bytes = vec![FORMAT];
    minicbor::encode(record.to_wire(), &mut bytes)
        .map_err(|_| Error::new(Kind::Internal, format!("a {} cannot be written", R::WHAT)))?;
    Ok(bytes)
}

pub(crate) fn decode<R: Record>(bytes: &[u8]) -> Result<R> {
    #[cfg(test)]
    DECODED.set(DECODED.get() + 1);
    let damaged = || Error::corrupt(format_args!("a {} does not decode", R::WHAT));
    let (format, body) = bytes.split_first().ok_or_else(damaged)?;
    if *format > FORMAT {
        return Err(newer(*format));
    }
    if *format != FORMAT || body.len() > MAX_RECORD {
        return Err(damaged());
    }
    let mut decoder = minicbor::Decoder::new(body);
    let wire = decoder.decode().map_err(|_| damaged())?;
    if decoder.position() != body.len() {
        return Err(damaged());
    }
    R::from_wire(wire).ok_or_else(damaged)
}

pub(crate) fn newer(format: u8) -> Error {
    Error::new(
        Kind::Unsupported,
        format!("the authority's store has records of format {format}, and this version knows formats up to {FORMAT}"),
    )
    .with_hint("a newer ockam-kms wrote to it: use that version")
}

/// What a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) authority: Identifier,
    pub(crate) created_at: Timestamp,
}

#[derive(Encode, Decode)]
pub(crate) struct MetaWire {
    #[n(0)]
    authority: Identifier,
    #[n(1)]
    created_at: u64,
}

impl Record for Meta {
    const WHAT: &'static str = "header";
    type Wire = MetaWire;

    fn to_wire(&self) -> MetaWire {
        MetaWire { authority: self.authority, created_at: self.created_at.0 }
    }

    fn from_wire(wire: MetaWire) -> Option<Self> {
        Some(Self { authority: wire.authority, created_at: Timestamp(wire.created_at) })
    }
}

#[derive(Encode, Decode)]
pub(crate) struct MemberWire {
    #[n(0)]
    identifier: Identifier,
    #[n(1)]
    attributes: BTreeMap<String, String>,
    #[n(2)]
    added_by: Identifier,
    #[n(3)]
    added_at: u64,
    #[n(4)]
    pre_trusted: bool,
}

impl Record for Member {
    const WHAT: &'static str = "member";
    type Wire = MemberWire;

    fn to_wire(&self) -> MemberWire {
        MemberWire {
            identifier: self.identifier,
            attributes: self.attributes.as_map().clone(),
            added_by: self.added_by,
            added_at: self.added_at.0,
            pre_trusted: self.pre_trusted,
        }
    }

    fn from_wire(wire: MemberWire) -> Option<Self> {
        Some(Self {
            identifier: wire.identifier,
            attributes: MemberAttributes::new(wire.attributes).ok()?,
            added_by: wire.added_by,
            added_at: Timestamp(wire.added_at),
            pre_trusted: wire.pre_trusted,
        })
    }
}

#[derive(Encode, Decode)]
pub(crate) struct TicketWire {
    #[cbor(n(0), with = "minicbor::bytes")]
    reference: [u8; 8],
    #[n(1)]
    attributes: BTreeMap<String, String>,
    #[n(2)]
    issued_by: Identifier,
    #[n(3)]
    created_at: u64,
    #[n(4)]
    expires_at: u64,
    #[n(5)]
    uses_left: u32,
}

impl Record for Ticket {
    const WHAT: &'static str = "ticket";
    type Wire = TicketWire;

    fn to_wire(&self) -> TicketWire {
        TicketWire {
            reference: *self.reference.as_bytes(),
            attributes: self.attributes.as_map().clone(),
            issued_by: self.issued_by,
            created_at: self.created_at.0,
            expires_at: self.expires_at.0,
            uses_left: self.uses_left,
        }
    }

    fn from_wire(wire: TicketWire) -> Option<Self> {
        Some(Self {
            reference: Reference::from_bytes(wire.reference),
            attributes: MemberAttributes::new(wire.attributes).ok()?,
            issued_by: wire.issued_by,
            created_at: Timestamp(wire.created_at),
            expires_at: Timestamp(wire.expires_at),
            uses_left: wire.uses_left,
        })
    }
}

/// The hash that a reference leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lookup(pub(crate) [u8; 32]);

#[derive(Encode, Decode)]
#[cbor(transparent)]
pub(crate) struct LookupWire(#[cbor(n(0), with = "minicbor::bytes")] [u8; 32]);

impl Record for Lookup {
    const WHAT: &'static str = "ticket reference";
    type Wire = LookupWire;

    fn to_wire(&self) -> LookupWire {
        LookupWire(self.0)
    }

    fn from_wire(wire: LookupWire) -> Option<Self> {
        Some(Self(wire.0))
    }
}

/// A number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counter(pub(crate) u64);

#[derive(Encode, Decode)]
#[cbor(transparent)]
pub(crate) struct CounterWire(#[n(0)] u64);

impl Record for Counter {
    const WHAT: &'static str = "counter";
    type Wire = CounterWire;

    fn to_wire(&self) -> CounterWire {
        CounterWire(self.0)
    }

    fn from_wire(wire: CounterWire) -> Option<Self> {
        Some(Self(wire.0))
    }
}

#[derive(Encode, Decode)]
pub(crate) struct KeptWire {
    #[n(0)]
    subject: Identifier,
    #[cbor(n(1), with = "minicbor::bytes")]
    request: [u8; 32],
    #[n(2)]
    at: u64,
    #[n(3)]
    number: u64,
    #[n(4)]
    receipt: ReceiptWire,
}

#[derive(Encode, Decode)]
pub(crate) enum ReceiptWire {
    #[n(0)]
    Done,
    #[n(1)]
    Deleted(#[n(0)] u64),
    #[n(2)]
    Ticket(
        #[cbor(n(0), with = "minicbor::bytes")] [u8; 8],
        #[cbor(n(1), with = "minicbor::bytes")] [u8; 32],
        #[n(2)] u64,
    ),
    #[n(3)]
    Credential(#[n(0)] ByteVec),
}

impl Record for Kept {
    const WHAT: &'static str = "receipt";
    type Wire = KeptWire;

    fn to_wire(&self) -> KeptWire {
        let receipt = match &self.receipt {
            Receipt::Done => ReceiptWire::Done,
            Receipt::Deleted(count) => ReceiptWire::Deleted(*count),
            Receipt::Ticket { reference, salt, created_at } => {
                ReceiptWire::Ticket(*reference.as_bytes(), *salt, created_at.0)
            }
            Receipt::Credential(bytes) => ReceiptWire::Credential(bytes.clone().into()),
        };
        KeptWire { subject: self.subject, request: self.request, at: self.at.0, number: self.number, receipt }
    }

    fn from_wire(wire: KeptWire) -> Option<Self> {
        let receipt = match wire.receipt {
            ReceiptWire::Done => Receipt::Done,
            ReceiptWire::Deleted(count) => Receipt::Deleted(count),
            ReceiptWire::Ticket(reference, salt, created_at) => Receipt::Ticket {
                reference: Reference::from_bytes(reference),
                salt,
                created_at: Timestamp(created_at),
            },
            ReceiptWire::Credential(bytes) => Receipt::Credential(bytes.into()),
        };
        Some(Self {
            subject: wire.subject,
            request: wire.request,
            at: Timestamp(wire.at),
            number: wire.number,
            receipt,
        })
    }
}

#[derive(Encode, Decode)]
pub(crate) struct HistoryWire {
    #[n(0)]
    bytes: ByteVec,
    #[n(1)]
    changes: Vec<ChangeHash>,
}

impl Record for KnownHistory {
    const WHAT: &'static str = "change history";
    type Wire = HistoryWire;

    fn to_wire(&self) -> HistoryWire {
        HistoryWire { bytes: self.bytes.clone().into(), changes: self.changes.clone() }
    }

    fn from_wire(wire: HistoryWire) -> Option<Self> {
        if wire.changes.is_empty() || wire.bytes.len() > MAX_BYTES {
            return None;
        }
        Some(Self { bytes: wire.bytes.into(), changes: wire.changes })
    }
}

#[derive(Encode, Decode)]
pub(crate) struct ConflictWire {
    #[n(0)]
    identifier: Identifier,
    #[n(1)]
    known: HistoryWire,
    #[n(2)]
    shown: HistoryWire,
    #[n(3)]
    at: u64,
    /// Not there while it is not decided.
    #[n(4)]
    decided: Option<DecidedWire>,
}

#[derive(Encode, Decode)]
pub(crate) struct DecidedWire {
    /// 0: the known history is kept, 1: the shown one is taken.
    #[n(0)]
    decision: u8,
    #[n(1)]
    at: u64,
}

impl DecidedWire {
    fn of(decided: Decided) -> Self {
        let decision = match decided.decision {
            Decision::KeepKnown => 0,
            Decision::TakeShown => 1,
        };
        Self { decision, at: decided.at.0 }
    }

    fn read(self) -> Option<Decided> {
        let decision = match self.decision {
            0 => Decision::KeepKnown,
            1 => Decision::TakeShown,
            _ => return None,
        };
        Some(Decided { decision, at: Timestamp(self.at) })
    }
}

impl Record for Conflict {
    const WHAT: &'static str = "conflict";
    type Wire = ConflictWire;

    fn to_wire(&self) -> ConflictWire {
        ConflictWire {
            identifier: self.identifier,
            known: self.known.to_wire(),
            shown: self.shown.to_wire(),
            at: self.at.0,
            decided: self.decided.map(DecidedWire::of),
        }
    }

    fn from_wire(wire: ConflictWire) -> Option<Self> {
        Some(Self {
            identifier: wire.identifier,
            known: KnownHistory::from_wire(wire.known)?,
            shown: KnownHistory::from_wire(wire.shown)?,
            at: Timestamp(wire.at),
            decided: match wire.decided {
                Some(decided) => Some(decided.read()?),
                None => None,
            },
        })
    }
}

#[derive(Encode, Decode)]
pub(crate) struct IssuedWire {
    #[cbor(n(0), with = "minicbor::bytes")]
    hash: [u8; 32],
    #[n(1)]
    subject: Identifier,
    #[n(2)]
    created_at: u64,
    #[n(3)]
    expires_at: u64,
}

impl Record for Issued {
    const WHAT: &'static str = "issued credential";
    type Wire = IssuedWire;

    fn to_wire(&self) -> IssuedWire {
        IssuedWire {
            hash: self.hash,
            subject: self.subject,
            created_at: self.created_at.0,
            expires_at: self.expires_at.0,
        }
    }

    fn from_wire(wire: IssuedWire) -> Option<Self> {
        Some(Self {
            hash: wire.hash,
            subject: wire.subject,
            created_at: Timestamp(wire.created_at),
            expires_at: Timestamp(wire.expires_at),
        })
    }
}

#[derive(Encode, Decode)]
pub(crate) struct AuditRowWire {
    #[n(0)]
    sequence: u64,
    #[n(1)]
    at: u64,
    #[n(2)]
    actor: String,
    #[n(3)]
    action: String,
    #[n(4)]
    object: String,
    #[n(5)]
    details: String,
    #[n(6)]
    outcome: String,
    #[n(7)]
    previous: String,
    #[n(8)]
    hash: String,
}

impl Record for AuditRow {
    const WHAT: &'static str = "audit row";
    type Wire = AuditRowWire;

    fn to_wire(&self) -> AuditRowWire {
        AuditRowWire {
            sequence: self.sequence,
            at: self.at.0,
            actor: self.actor.clone(),
            action: self.action.clone(),
            object: self.object.clone(),
            details: self.details.clone(),
            outcome: self.outcome.clone(),
            previous: self.previous.clone(),
            hash: self.hash.clone(),
        }
    }

    fn from_wire(wire: AuditRowWire) -> Option<Self> {
        Some(Self {
            sequence: wire.sequence,
            at: Timestamp(wire.at),
            actor: wire.actor,
            action: wire.action,
            object: wire.object,
            details: wire.details,
            outcome: wire.outcome,
            previous: wire.previous,
            hash: wire.hash,
        })
    }
}

#[derive(Encode, Decode)]
pub(crate) struct HeadWire {
    #[n(0)]
    sequence: u64,
    #[n(1)]
    hash: String,
}

impl Record for AuditHead {
    const WHAT: &'static str = "audit head";
    type Wire = HeadWire;

    fn to_wire(&self) -> HeadWire {
        HeadWire { sequence: self.sequence, hash: self.hash.clone() }
    }

    fn from_wire(wire: HeadWire) -> Option<Self> {
        Some(Self { sequence: wire.sequence, hash: wire.hash })
    }
}

/// How many refusals were recorded in which hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Refusals {
    pub(crate) hour: u64,
    pub(crate) count: u64,
}

#[derive(Encode, Decode)]
pub(crate) struct RefusalsWire {
    #[n(0)]
    hour: u64,
    #[n(1)]
    count: u64,
}

impl Record for Refusals {
    const WHAT: &'static str = "count of refusals";
    type Wire = RefusalsWire;

    fn to_wire(&self) -> RefusalsWire {
        RefusalsWire { hour: self.hour, count: self.count }
    }

    fn from_wire(wire: RefusalsWire) -> Option<Self> {
        Some(Self { hour: wire.hour, count: wire.count })
    }
}

/// An intent that nothing was recorded for, and how many requests share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) issued: Issued,
    pub(crate) shares: u32,
}

#[derive(Encode, Decode)]
pub(crate) struct PendingWire {
    #[n(0)]
    issued: IssuedWire,
    #[n(1)]
    shares: u32,
}

impl Record for Pending {
    const WHAT: &'static str = "intent";
    type Wire = PendingWire;

    fn to_wire(&self) -> PendingWire {
        PendingWire { issued: self.issued.to_wire(), shares: self.shares }
    }

    fn from_wire(wire: PendingWire) -> Option<Self> {
        Some(Self { issued: Issued::from_wire(wire.issued)?, shares: wire.shares })
    }
}
