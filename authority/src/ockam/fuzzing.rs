//! See [`crate::fuzzing`].

use minicbor::{Decode, Encode};

use super::shape::{
    AddMember, AttributesEntry, CreateToken, Deleted, Details, IdentifierList, MemberList, NewMember,
    NewToken, OneTimeCode, TicketList, decode, encode,
};
use crate::member::MemberAttributes;

/// How many kinds of bodies there are, as [`service_body`] numbers them.
pub const BODIES: usize = DECODERS.len();

type Decoder = fn(&[u8]) -> Option<Vec<u8>>;

const DECODERS: [Decoder; 9] = [
    add_member,
    create_token,
    read::<OneTimeCode>,
    read::<AttributesEntry>,
    read::<MemberList>,
    read::<IdentifierList>,
    read::<TicketList>,
    read::<Details>,
    read::<Deleted>,
];

/// The body of a request to a service or of its answer, as whoever gets it reads it.
#[must_use]
pub fn service_body(kind: usize, body: &[u8]) -> Option<Vec<u8>> {
    DECODERS.get(kind)?(body)
}

fn read<T: for<'b> Decode<'b, ()> + Encode<()>>(body: &[u8]) -> Option<Vec<u8>> {
    Some(encode(&decode::<T>(Some(body))?))
}

fn add_member(body: &[u8]) -> Option<Vec<u8>> {
    let AddMember { member, attributes } = decode(Some(body))?;
    Some(encode(&NewMember(&member, &MemberAttributes::new(attributes).ok()?)))
}

fn create_token(body: &[u8]) -> Option<Vec<u8>> {
    let CreateToken { attributes, seconds, uses, details } = decode(Some(body))?;
    let attributes = &MemberAttributes::new(attributes).ok()?;
    Some(encode(&NewToken { attributes, seconds, uses, details }))
}
