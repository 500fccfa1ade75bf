//! The text of an enrolment ticket (contract §8): seven fields with commas between them, that text as hex, or a JSON object.

use identity::Identity;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::error::{Error, Result};

/// Everything that a ticket says.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct TicketText {
    pub(crate) project_route: String,
    pub(crate) project_identifier: String,
    pub(crate) project_name: String,
    pub(crate) code: String,
    pub(crate) project_change_history: String,
    pub(crate) authority_change_history: String,
    pub(crate) authority_route: String,
}

/// The JSON form, as the reference has it.
#[derive(Serialize, Deserialize)]
struct Json {
    one_time_code: String,
    project_route: Route,
    project_identifier: Option<String>,
    project_name: String,
    project_change_history: Option<String>,
    authority_change_history: String,
    authority_route: String,
}

#[derive(Serialize, Deserialize)]
struct Route {
    id: String,
    route: String,
}

impl TicketText {
    /// Reads any of the three forms.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.starts_with('{') {
            let json: Json =
                serde_json::from_str(text).map_err(|e| malformed().with_source(e.to_string()))?;
            return Self {
                project_route: json.project_route.route,
                project_identifier: json.project_identifier.unwrap_or(json.project_route.id),
                project_name: json.project_name,
                code: json.one_time_code,
                project_change_history: json.project_change_history.unwrap_or_default(),
                authority_change_history: json.authority_change_history,
                authority_route: json.authority_route,
            }
            .checked();
        }
        if !text.contains(',') {
            let bytes = Zeroizing::new(hex::decode(text).map_err(|_| malformed())?);
            let inner = std::str::from_utf8(&bytes).map_err(|_| malformed())?;
            // One layer of hex, and no more: what unpacks for ever is no ticket.
            return if inner.contains(',') || inner.starts_with('{') {
                Self::parse(inner)
            } else {
                Err(malformed())
            };
        }
        let mut fields = text.split(',').map(str::trim);
        let mut next = || fields.next().map(str::to_owned).ok_or_else(malformed);
        Self {
            project_route: next()?,
            project_identifier: next()?,
            project_name: next()?,
            code: next()?,
            project_change_history: next()?,
            authority_change_history: next()?,
            authority_route: next()?,
        }
        .checked()
    }

    fn checked(self) -> Result<Self> {
        let code_fits = self.code.len() == 64 && self.code.bytes().all(|digit| digit.is_ascii_hexdigit());
        if !code_fits || self.authority_route.is_empty() || self.project_identifier.is_empty() {
            return Err(malformed());
        }
        Ok(self)
    }

    /// The identity that the ticket pins as the authority.
    pub(crate) fn authority(&self) -> Result<Identity> {
        Identity::import_hex(&self.authority_change_history).map_err(|e| {
            Error::invalid(format!("the ticket's authority does not verify: {e}")).with_source(e)
        })
    }

    /// The seven fields.
    pub(crate) fn fields(&self) -> Zeroizing<String> {
        Zeroizing::new(
            [
                self.project_route.as_str(),
                &self.project_identifier,
                &self.project_name,
                &self.code,
                &self.project_change_history,
                &self.authority_change_history,
                &self.authority_route,
            ]
            .join(","),
        )
    }

    /// The JSON form.
    pub(crate) fn json(&self) -> Result<serde_json::Value> {
        Ok(serde_json::to_value(Json {
            one_time_code: self.code.clone(),
            project_route: Route { id: self.project_identifier.clone(), route: self.project_route.clone() },
            project_identifier: Some(self.project_identifier.clone()),
            project_name: self.project_name.clone(),
            project_change_history: Some(self.project_change_history.clone()),
            authority_change_history: self.authority_change_history.clone(),
            authority_route: self.authority_route.clone(),
        })?)
    }
}

// The text is a secret: no message repeats it.
fn malformed() -> Error {
    Error::invalid("this is not an enrolment ticket").with_hint(
        "a ticket is what `ockam-kms project ticket` printed: seven fields with commas, its hex, or its JSON; or a file that holds it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn text() -> String {
        format!("/service/p1,p1,name,{CODE},,8182,http://127.0.0.1:4100")
    }

    #[test]
    fn every_form_says_the_same() {
        let one = TicketText::parse(&text()).unwrap();
        assert_eq!(*one.fields(), text());
        for form in [hex::encode(text()), one.json().unwrap().to_string(), format!("{},more", text())] {
            assert_eq!(*TicketText::parse(&form).unwrap().fields(), text());
        }
    }

    #[test]
    fn what_is_no_ticket_is_refused_without_repeating_it() {
        let hexed_twice = hex::encode(hex::encode(text()));
        for bad in ["", "x", "a,b,c", &CODE[1..], "{}", &hexed_twice, &text().replace(CODE, "12")] {
            let Err(error) = TicketText::parse(bad) else { panic!("{bad} is taken") };
            assert_eq!(error.to_string(), "this is not an enrolment ticket");
        }
    }
}
