//! `message …`

use home::control::{MAX_MESSAGE, NodeAsk, PartyAsk};
use node::workers::{decode_text, encode_text};
use serde_json::json;

use super::node::ask::{Asked, ask_here, field, looked_up};
use crate::args::message::{Send, Verb};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::exit::Kind;
use crate::output::Report;

pub(crate) fn run(context: &Context, verb: Verb) -> Result<Report> {
    match verb {
        Verb::Send(send) => self::send(context, &send),
    }
}

/// A text goes and comes as Ockam's own workers have it, with its length before it; with `--hex` bytes go and come as they
/// are.
fn send(context: &Context, send: &Send) -> Result<Report> {
    let payload = match send.hex {
        true => hex::decode(&send.message).map_err(|_| Error::invalid("the message is not hex"))?,
        false => encode_text(&send.message),
    };
    if payload.len() > MAX_MESSAGE {
        return Err(Error::invalid(format!("the message has more than {MAX_MESSAGE} bytes")));
    }
    let ask = NodeAsk::Send {
        to: looked_up(context.read()?, &send.to)?,
        payload: hex::encode(payload),
        party: PartyAsk { identity: send.identity.clone(), credential: None },
        wait: send.wait.millis(),
    };
    let answer = match &send.from {
        Some(from) => Asked::find(context, Some(from))?.ask_within(ask, send.wait.timeout)?,
        None => ask_here(context, send.identity.as_deref(), &send.trust, ask)?,
    };
    let hex = field(&answer, "payload");
    let text = match send.hex {
        true => hex,
        false => {
            let bytes = hex::decode(&hex)
                .map_err(|e| Error::new(Kind::Internal, "the node's answer is no hex").with_source(e))?;
            decode_text(&bytes).map(str::to_owned).ok_or_else(|| {
                Error::new(Kind::Rejected, "the answer is no text")
                    .with_hint("--hex sends bytes and shows those that come back")
            })?
        }
    };
    Ok(Report::new(text.clone(), json!({ "answer": text })).machine(text))
}
