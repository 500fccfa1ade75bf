//! The CBOR of requests and answers (docs/formats.md, "the authority's services"), for both sides.
//!
//! The same attributes have three encodings, as the reference has it: maps of text in requests, and of arrays of small integers
//! in what is told of a member; in credentials they are maps of byte strings. Fields from [`OURS`] on are not the reference's,
//! which skips them; where nobody asks for them they are not written.

use std::collections::BTreeMap;

use identity::{Identifier, Timestamp};
use minicbor::bytes::ByteArray;
use minicbor::data::Type;
use minicbor::decode::Error;
use minicbor::encode::{self, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};
use zeroize::Zeroize as _;

use crate::member::{MAX_MEMBER_ATTRIBUTES, Member, MemberAttributes};
use crate::ticket::{Code, Reference, Ticket};

/// The first number of fields that are ours.
pub(crate) const OURS: u32 = 256;
/// The most bytes of a name or a value of an attribute.
const MAX_TEXT: usize = 64 * 1024;

type Decoded<T> = Result<T, Error>;
type Encoded<W> = Result<(), encode::Error<<W as Write>::Error>>;

/// Reads a body to what it says; what comes after it is not looked at, as the reference does not look.
pub(crate) fn decode<'b, T: Decode<'b, ()>>(body: Option<&'b [u8]>) -> Option<T> {
    minicbor::decode(body.unwrap_or_default()).ok()
}

/// Writes a body.
pub(crate) fn encode(value: &impl Encode<()>) -> Vec<u8> {
    // Writing into a vector does not fail.
    minicbor::to_vec(value).unwrap_or_default()
}

/// Gives each field of a map to `field`, which reads its value or skips it; the last one of a number counts.
fn fields<'b>(
    d: &mut Decoder<'b>,
    mut field: impl FnMut(&mut Decoder<'b>, u32) -> Decoded<()>,
) -> Decoded<()> {
    let mut left = d.map()?;
    loop {
        match &mut left {
            Some(0) => return Ok(()),
            Some(count) => *count -= 1,
            None if d.datatype()? == Type::Break => return d.skip(),
            None => {}
        }
        let key = d.u32()?;
        field(d, key)?;
    }
}

fn missing<T>(value: Option<T>) -> Decoded<T> {
    value.ok_or_else(|| Error::message("a field is missing"))
}

fn identifier(d: &mut Decoder<'_>) -> Decoded<Identifier> {
    ByteArray::<32>::decode(d, &mut ()).map(|bytes| Identifier::from_bytes(bytes.into()))
}

fn number(d: &mut Decoder<'_>) -> Decoded<Option<u64>> {
    Option::<u64>::decode(d, &mut ())
}

fn text_map(d: &mut Decoder<'_>) -> Decoded<BTreeMap<String, String>> {
    let mut map = BTreeMap::new();
    for pair in d.map_iter::<&str, &str>()? {
        let (name, value) = pair?;
        map.insert(name.to_owned(), value.to_owned());
        if map.len() > MAX_MEMBER_ATTRIBUTES {
            return Err(Error::message("too many attributes"));
        }
    }
    Ok(map)
}

fn write_text_map<W: Write>(e: &mut Encoder<W>, attributes: &MemberAttributes) -> Encoded<W> {
    e.map(attributes.iter().count() as u64)?;
    for (name, value) in attributes.iter() {
        e.str(name)?.str(value)?;
    }
    Ok(())
}

/// What `direct_authenticator` is sent to add a member.
#[derive(Debug)]
pub(crate) struct AddMember {
    pub(crate) member: Identifier,
    pub(crate) attributes: BTreeMap<String, String>,
}

impl<'b, C> Decode<'b, C> for AddMember {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Decoded<Self> {
        let (mut member, mut attributes) = (None, None);
        fields(d, |d, key| {
            match key {
                1 => member = Some(identifier(d)?),
                2 => attributes = Some(text_map(d)?),
                _ => d.skip()?,
            }
            Ok(())
        })?;
        Ok(Self { member: missing(member)?, attributes: missing(attributes)? })
    }
}

/// The same, to be sent.
#[derive(Debug)]
pub(crate) struct NewMember<'a>(pub(crate) &'a Identifier, pub(crate) &'a MemberAttributes);

impl<C> Encode<C> for NewMember<'_> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Encoded<W> {
        e.map(2)?.u8(1)?.bytes(self.0.as_bytes())?.u8(2)?;
        write_text_map(e, self.1)
    }
}

/// What `enrollment_token_issuer` is sent.
#[derive(Debug)]
pub(crate) struct CreateToken {
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) seconds: Option<u64>,
    pub(crate) uses: Option<u64>,
    /// Ours: whether more than the code is to be answered.
    pub(crate) details: bool,
}

impl<'b, C> Decode<'b, C> for CreateToken {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Decoded<Self> {
        let (mut attributes, mut seconds, mut uses, mut details) = (None, None, None, false);
        fields(d, |d, key| {
            match key {
                1 => attributes = Some(text_map(d)?),
                2 => seconds = number(d)?,
                3 => uses = number(d)?,
                OURS => details = d.bool()?,
                _ => d.skip()?,
            }
            Ok(())
        })?;
        Ok(Self { attributes: missing(attributes)?, seconds, uses, details })
    }
}

/// The same, to be sent.
#[derive(Debug)]
pub(crate) struct NewToken<'a> {
    pub(crate) attributes: &'a MemberAttributes,
    pub(crate) seconds: Option<u64>,
    pub(crate) uses: Option<u64>,
    pub(crate) details: bool,
}

impl<C> Encode<C> for NewToken<'_> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Encoded<W> {
        let count = [true, self.seconds.is_some(), self.uses.is_some(), self.details];
        e.map(count.into_iter().map(u64::from).sum())?.u8(1)?;
        write_text_map(e, self.attributes)?;
        if let Some(seconds) = self.seconds {
            e.u8(2)?.u64(seconds)?;
        }
        if let Some(uses) = self.uses {
            e.u8(3)?.u64(uses)?;
        }
        if self.details {
            e.u32(OURS)?.bool(true)?;
        }
        Ok(())
    }
}

/// A code on its way: from `enrollment_token_issuer`, and to `enrollment_token_acceptor`.
#[derive(Debug)]
pub(crate) struct OneTimeCode {
    pub(crate) code: Code,
    /// Ours, to the acceptor: what a device says of the key of whoever enrols.
    pub(crate) key_attestation: Option<Vec<u8>>,
    /// Ours, from the issuer: the ticket that the code is of.
    pub(crate) ticket: Option<Ticket>,
}

impl OneTimeCode {
    pub(crate) fn of(code: Code) -> Self {
        Self { code, key_attestation: None, ticket: None }
    }
}

impl<'b, C> Decode<'b, C> for OneTimeCode {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Decoded<Self> {
        let (mut code, mut key_attestation, mut ticket) = (None, None, None);
        fields(d, |d, key| {
            match key {
                1 => {
                    let mut bytes: [u8; 32] = ByteArray::<32>::decode(d, &mut ())?.into();
                    code = Some(Code::from_bytes(bytes));
                    bytes.zeroize();
                }
                OURS => key_attestation = Some(d.bytes()?.to_vec()),
                TICKET => ticket = Some(Ticket::decode(d, ctx)?),
                _ => d.skip()?,
            }
            Ok(())
        })?;
        Ok(Self { code: missing(code)?, key_attestation, ticket })
    }
}

const TICKET: u32 = OURS + 1;

impl<C> Encode<C> for OneTimeCode {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut C) -> Encoded<W> {
        let count = [true, self.key_attestation.is_some(), self.ticket.is_some()];
        e.map(count.into_iter().map(u64::from).sum())?.u8(1)?.bytes(self.code.expose_bytes())?;
        if let Some(shown) = &self.key_attestation {
            e.u32(OURS)?.bytes(shown)?;
        }
        if let Some(ticket) = &self.ticket {
            e.u32(TICKET)?;
            ticket.encode(e, ctx)?;
        }
        Ok(())
    }
}

/// Ours: a ticket, as far as it may be shown.
impl<C> Encode<C> for Ticket {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Encoded<W> {
        e.map(6)?.u8(1)?.bytes(self.reference.as_bytes())?.u8(2)?;
        write_text_map(e, &self.attributes)?;
        e.u8(3)?.bytes(self.issued_by.as_bytes())?;
        e.u8(4)?.u64(self.created_at.0)?.u8(5)?.u64(self.expires_at.0)?.u8(6)?.u32(self.uses_left)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Ticket {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Decoded<Self> {
        let (mut reference, mut attributes, mut issued_by) = (None, None, None);
        let (mut created_at, mut expires_at, mut uses_left) = (None, None, None);
        fields(d, |d, key| {
            match key {
                1 => reference = Some(Reference::from_bytes(ByteArray::<8>::decode(d, &mut ())?.into())),
                2 => attributes = Some(checked(text_map(d)?)?),
                3 => issued_by = Some(identifier(d)?),
                4 => created_at = Some(Timestamp(d.u64()?)),
                5 => expires_at = Some(Timestamp(d.u64()?)),
                6 => uses_left = Some(d.u32()?),
                _ => d.skip()?,
            }
            Ok(())
        })?;
        Ok(Self {
            reference: missing(reference)?,
            attributes: missing(attributes)?,
            issued_by: missing(issued_by)?,
            created_at: missing(created_at)?,
            expires_at: missing(expires_at)?,
            uses_left: missing(uses_left)?,
        })
    }
}

fn checked(attributes: BTreeMap<String, String>) -> Decoded<MemberAttributes> {
    MemberAttributes::new(attributes).map_err(|_| Error::message("attributes that no member can have"))
}

/// What `direct_authenticator` tells of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AttributesEntry {
    pub(crate) attributes: MemberAttributes,
    pub(crate) added_at: Timestamp,
    pub(crate) added_by: Option<Identifier>,
}

impl From<Member> for AttributesEntry {
    fn from(member: Member) -> Self {
        Self { attributes: member.attributes, added_at: member.added_at, added_by: Some(member.added_by) }
    }
}

impl AttributesEntry {
    /// The member, as the authority of this identifier told it. Whom the authority added itself it trusted from the start.
    pub(crate) fn into_member(self, identifier: Identifier, authority: Identifier) -> Member {
        let added_by = self.added_by.unwrap_or(authority);
        Member {
            identifier,
            attributes: self.attributes,
            added_by,
            added_at: self.added_at,
            pre_trusted: added_by == authority,
        }
    }
}

impl<C> Encode<C> for AttributesEntry {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Encoded<W> {
        e.map(2 + u64::from(self.added_by.is_some()))?.u8(1)?.map(self.attributes.iter().count() as u64)?;
        for (name, value) in self.attributes.iter() {
            write_integers(e, name)?;
            write_integers(e, value)?;
        }
        e.u8(2)?.u64(self.added_at.0)?;
        if let Some(added_by) = self.added_by {
            e.u8(4)?.bytes(added_by.as_bytes())?;
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for AttributesEntry {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Decoded<Self> {
        let (mut attributes, mut added_at, mut added_by) = (None, None, None);
        fields(d, |d, key| {
            match key {
                1 => attributes = Some(integers_map(d)?),
                2 => added_at = Some(Timestamp(d.u64()?)),
                4 if d.datatype()? != Type::Null => added_by = Some(identifier(d)?),
                _ => d.skip()?,
            }
            Ok(())
        })?;
        Ok(Self { attributes: missing(attributes)?, added_at: missing(added_at)?, added_by })
    }
}

fn write_integers<W: Write>(e: &mut Encoder<W>, text: &str) -> Encoded<W> {
    e.array(text.len() as u64)?;
    for byte in text.bytes() {
        e.u8(byte)?;
    }
    Ok(())
}

fn integers(d: &mut Decoder<'_>) -> Decoded<String> {
    let mut bytes = Vec::new();
    for byte in d.array_iter::<u8>()? {
        if bytes.len() == MAX_TEXT {
            return Err(Error::message("an attribute is too long"));
        }
        bytes.push(byte?);
    }
    String::from_utf8(bytes).map_err(|_| Error::message("an attribute is no text"))
}

fn integers_map(d: &mut Decoder<'_>) -> Decoded<MemberAttributes> {
    let (mut map, mut left) = (BTreeMap::new(), d.map()?);
    loop {
        match &mut left {
            Some(0) => return checked(map),
            Some(count) => *count -= 1,
            None if d.datatype()? == Type::Break => {
                d.skip()?;
                return checked(map);
            }
            None => {}
        }
        let name = integers(d)?;
        map.insert(name, integers(d)?);
        if map.len() > MAX_MEMBER_ATTRIBUTES {
            return Err(Error::message("too many attributes"));
        }
    }
}

/// All members, or as many as a peer tells of.
#[derive(Debug, Default)]
pub(crate) struct MemberList(pub(crate) Vec<(Identifier, AttributesEntry)>);

impl<C> Encode<C> for MemberList {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut C) -> Encoded<W> {
        e.map(self.0.len() as u64)?;
        for (identifier, entry) in &self.0 {
            e.bytes(identifier.as_bytes())?;
            entry.encode(e, ctx)?;
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for MemberList {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Decoded<Self> {
        let (mut members, mut left) = (Vec::new(), d.map()?);
        loop {
            match &mut left {
                Some(0) => break,
                Some(count) => *count -= 1,
                None if d.datatype()? == Type::Break => {
                    d.skip()?;
                    break;
                }
                None => {}
            }
            members.push((identifier(d)?, AttributesEntry::decode(d, ctx)?));
        }
        // The reference writes them in no order.
        members.sort_by_key(|(identifier, _)| *identifier);
        Ok(Self(members))
    }
}

/// Identifiers, of members.
#[derive(Debug, Default)]
pub(crate) struct IdentifierList(pub(crate) Vec<Identifier>);

impl<C> Encode<C> for IdentifierList {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Encoded<W> {
        e.array(self.0.len() as u64)?;
        for identifier in &self.0 {
            e.bytes(identifier.as_bytes())?;
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for IdentifierList {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Decoded<Self> {
        let mut list = Vec::new();
        for bytes in d.array_iter::<ByteArray<32>>()? {
            list.push(Identifier::from_bytes(bytes?.into()));
        }
        list.sort();
        Ok(Self(list))
    }
}

/// Ours: tickets, as far as they may be shown.
#[derive(Debug, Default)]
pub(crate) struct TicketList(pub(crate) Vec<Ticket>);

impl<C> Encode<C> for TicketList {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut C) -> Encoded<W> {
        self.0.encode(e, ctx)
    }
}

impl<'b, C> Decode<'b, C> for TicketList {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Decoded<Self> {
        Vec::decode(d, ctx).map(Self)
    }
}

/// Ours, with a request to delete: whether more is to be answered than that it is done.
#[derive(Debug)]
pub(crate) struct Details(pub(crate) bool);

impl<C> Encode<C> for Details {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Encoded<W> {
        e.map(1)?.u32(OURS)?.bool(self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Details {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Decoded<Self> {
        let mut wanted = false;
        fields(d, |d, key| match key {
            OURS => d.bool().map(|given| wanted = given),
            _ => d.skip(),
        })?;
        Ok(Self(wanted))
    }
}

/// Ours: how many were deleted.
#[derive(Debug)]
pub(crate) struct Deleted(pub(crate) u64);

impl<C> Encode<C> for Deleted {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Encoded<W> {
        e.map(1)?.u32(OURS)?.u64(self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Deleted {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Decoded<Self> {
        let mut count = None;
        fields(d, |d, key| match key {
            OURS => d.u64().map(|given| count = Some(given)),
            _ => d.skip(),
        })?;
        Ok(Self(missing(count)?))
    }
}

#[cfg(test)]
mod tests;
