//! `project-member …`

use authority::member::{Member, MemberAttributes};
use identity::Identifier;
use serde_json::{Map, Value, json};

use super::attributes;
use crate::args::project::{Add, Delete, MemberVerb, ShowMember};
use crate::commands::client::Asking;
use crate::context::Context;
use crate::dry_run::Preview;
use crate::error::{Error, Result};
use crate::output::{Report, blocks, table, time};

pub(crate) fn run(context: &Context, verb: MemberVerb) -> Result<Report> {
    match verb {
        MemberVerb::Add(add) => self::add(context, &add),
        MemberVerb::List(list) => {
            let mut members = Asking::new(context, &list.at)?.client.members()?;
            if list.enroller {
                members.retain(|member| member.attributes.make_an_enroller());
            }
            let plain: Vec<_> = members.iter().map(plain_member).collect();
            let items = members.iter().map(json_member).collect();
            Ok(Report::new(blocks(&plain, "there are no members"), Value::Array(items)))
        }
        MemberVerb::ListIds(list) => {
            let ids = Asking::new(context, &list.at)?.client.member_ids()?;
            let ids: Vec<_> = ids.iter().map(Identifier::to_string).collect();
            let plain = if ids.is_empty() { "there are no members".to_owned() } else { ids.join("\n") };
            Ok(Report::new(plain, json!(ids)))
        }
        MemberVerb::Show(show) => self::show(context, &show),
        MemberVerb::Delete(delete) => self::delete(context, &delete),
    }
}

fn add(context: &Context, add: &Add) -> Result<Report> {
    let member = identifier(&add.member)?;
    let attributes = attributes(&add.attributes, add.relay.as_deref(), add.enroller, false)?;
    let asking = Asking::new(context, &add.at)?;
    asking.client.add_member(&member, &attributes)?;
    let json = json!({
        "project": asking.project(), "identifier": member.to_string(), "attributes": map(&attributes),
    });
    Ok(Report::new(format!("{member} is a member"), json).machine(member.to_string()))
}

fn show(context: &Context, show: &ShowMember) -> Result<Report> {
    let wanted = show.member.as_deref().map(identifier).transpose()?;
    let asking = Asking::new(context, &show.at)?;
    let wanted = wanted.unwrap_or_else(|| asking.client.identity().identifier());
    let member = asking.client.member(&wanted)?;
    Ok(Report::new(plain_member(&member), json_member(&member)))
}

fn delete(context: &Context, delete: &Delete) -> Result<Report> {
    let member = delete.member.as_deref().map(identifier).transpose()?;
    let asking = Asking::new(context, &delete.at)?;
    if delete.dry_run {
        let mut preview = Preview::default();
        let members = match &member {
            Some(member) => vec![asking.client.member(member)?],
            None => asking.client.members()?,
        };
        for member in members {
            let ours = member.identifier == asking.client.identity().identifier();
            let told = format!("the membership of {}", member.identifier);
            match (member.pre_trusted || delete.all && ours, delete.all) {
                (true, true) => preview.keeps(told),
                (true, false) => {
                    preview.needed_by("the configuration of the authority, which names this member")
                }
                (false, _) => preview.destroys(told),
            }
        }
        preview.keeps("credentials that were issued already, until they expire");
        return Ok(preview.report());
    }
    match member {
        Some(member) => {
            asking.client.delete_member(&member)?;
            let json = json!({ "project": asking.project(), "identifier": member.to_string(), "deleted": 1 });
            Ok(Report::new(format!("{member} is no member any more"), json).machine(member.to_string()))
        }
        None => {
            let deleted = asking.client.delete_members()?;
            let json = json!({ "project": asking.project(), "identifier": null, "deleted": deleted });
            let told = deleted.map_or_else(|| "all".to_owned(), |count| count.to_string());
            Ok(Report::new(format!("{told} members are deleted"), json).machine(told))
        }
    }
}

fn identifier(text: &str) -> Result<Identifier> {
    text.parse().map_err(|e: identity::Error| {
        Error::invalid(e.to_string()).with_hint("`ockam-kms identity show` prints an identity's identifier")
    })
}

fn map(attributes: &MemberAttributes) -> Map<String, Value> {
    attributes.iter().map(|(name, value)| (name.to_owned(), Value::String(value.to_owned()))).collect()
}

fn plain_member(member: &Member) -> String {
    let mut rows = vec![
        ("identifier", member.identifier.to_string()),
        ("added by", member.added_by.to_string()),
        ("added at", time(member.added_at)),
    ];
    if member.pre_trusted {
        rows.push(("pre-trusted", "yes".to_owned()));
    }
    rows.extend(
        member
            .attributes
            .iter()
            .map(|(name, value)| ("attribute", format!("{}={}", name.escape_debug(), value.escape_debug()))),
    );
    table(&rows)
}

/// The shape that the reference prints, and whether the member was named when the authority was started.
fn json_member(member: &Member) -> Value {
    json!({
        "identifier": member.identifier.to_string(),
        "attributes": {
            "attributes": map(&member.attributes),
            "added_at": member.added_at.0,
            "expires_at": null,
            "attested_by": member.added_by.to_string(),
        },
        "pre_trusted": member.pre_trusted,
    })
}
