//! The text of an enrolment ticket (docs/formats.md, "enrolment tickets"): seven fields with commas between them, that text
//! as hex, or a JSON object; and the reference's older JSON, plain or as hex.

use std::fmt;

use identity::{Identifier, Identity, MAX_BYTES};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::error::{Error, Kind, Result};

/// The longest ticket, in bytes: two change histories of the largest size as hex, room for the rest, and all of it as hex.
pub const MAX_TICKET_TEXT: usize = 2 * MAX_FIELDS;

/// The most bytes before they are made hex.
const MAX_FIELDS: usize = 4 * MAX_BYTES + 64 * 1024;

/// Everything that a ticket says.
#[derive(Clone, Default, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct TicketText {
    /// The route to the project's node.
    pub project_route: String,
    /// The project's identifier. Never empty.
    pub project_identifier: String,
    /// The identifier of the project's node; empty when the ticket names none.
    pub project_node: String,
    /// The project's name.
    pub project_name: String,
    /// The code: 64 hex digits.
    pub code: String,
    /// The change history of the project's node, as hex; empty when there is none.
    pub project_change_history: String,
    /// The change history that pins the authority, as hex.
    pub authority_change_history: String,
    /// The route to the authority. Never empty.
    pub authority_route: String,
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

/// What stood in JSON before: the code, and the project as the reference stores one.
#[derive(Deserialize, Serialize)]
struct Legacy {
    one_time_code: String,
    project: LegacyProject,
}

/// The last four members say nothing here: the reference's readers do not do without them.
#[derive(Default, Deserialize, Serialize)]
struct LegacyProject {
    id: String,
    name: String,
    access_route: String,
    identity: Option<String>,
    project_change_history: Option<String>,
    authority_access_route: Option<String>,
    authority_identity: Option<String>,
    #[serde(default, skip_deserializing)]
    space_id: String,
    #[serde(default, skip_deserializing)]
    space_name: String,
    #[serde(default, skip_deserializing)]
    users: [(); 0],
    #[serde(default, skip_deserializing)]
    user_roles: [(); 0],
}

#[derive(Deserialize)]
#[serde(untagged)]
enum AnyJson {
    Now(Json),
    Legacy(Legacy),
}

impl TicketText {
    /// Reads any of the forms.
    ///
    /// # Errors
    /// [`Kind::Invalid`], without the text, when it is none of them.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.len() > MAX_TICKET_TEXT {
            return Err(malformed());
        }
        if text.starts_with('{') || text.contains(',') {
            return Self::parse_plain(text);
        }
        // One layer of hex, and no more: what unpacks for ever is no ticket.
        let bytes = Zeroizing::new(hex::decode(text).map_err(|_| malformed())?);
        Self::parse_plain(std::str::from_utf8(&bytes).map_err(|_| malformed())?)
    }

    fn parse_plain(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.len() > MAX_FIELDS {
            return Err(malformed());
        }
        if text.starts_with('{') {
            return match serde_json::from_str(text).map_err(|e| malformed().with_source(e.to_string()))? {
                AnyJson::Now(json) => Self::of_json(json),
                AnyJson::Legacy(ticket) => Self::of_legacy(ticket),
            }
            .checked();
        }
        let mut fields = text.split(',').map(str::trim);
        let mut next = || fields.next().map(str::to_owned).ok_or_else(malformed);
        let (project_route, second) = (next()?, next()?);
        let (project_identifier, project_node) = named(&project_route, second);
        Self {
            project_route,
            project_identifier,
            project_node,
            project_name: next()?,
            code: next()?,
            project_change_history: next()?,
            authority_change_history: next()?,
            authority_route: next()?,
        }
        .checked()
    }

    fn of_json(json: Json) -> Self {
        let second = json.project_identifier.unwrap_or(json.project_route.id);
        let (project_identifier, project_node) = named(&json.project_route.route, second);
        Self {
            project_route: json.project_route.route,
            project_identifier,
            project_node,
            project_name: json.project_name,
            code: json.one_time_code,
            project_change_history: json.project_change_history.unwrap_or_default(),
            authority_change_history: json.authority_change_history,
            authority_route: json.authority_route,
        }
    }

    fn of_legacy(Legacy { one_time_code, project }: Legacy) -> Self {
        let node = project.identity.and_then(|identity| identity.parse().ok());
        Self {
            project_route: project.access_route,
            project_identifier: project.id,
            project_node: String::new(),
            project_name: project.name,
            code: one_time_code,
            project_change_history: project.project_change_history.unwrap_or_default(),
            authority_change_history: project.authority_identity.unwrap_or_default(),
            authority_route: project.authority_access_route.unwrap_or_default(),
        }
        .of_node(node)
    }

    /// The same, naming the project's node where a reader can still tell which project it is: by its route.
    #[must_use]
    pub fn of_node(mut self, node: Option<Identifier>) -> Self {
        let told = project_of_route(&self.project_route) == Some(&self.project_identifier);
        let node = node.map(|node| node.to_string()).filter(|node| told && *node != self.project_identifier);
        self.project_node = node.unwrap_or_default();
        self
    }

    /// The same, when it can be written in each of the three forms and read back: a comma in a name, which JSON could hold,
    /// would move every field after it by one.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for what is no ticket.
    pub fn checked(self) -> Result<Self> {
        let fields = self.list();
        let plain = |field: &&str| {
            !field.contains(',') && !field.chars().any(char::is_control) && field.trim().len() == field.len()
        };
        let code_fits = self.code.len() == 64 && self.code.bytes().all(|digit| digit.is_ascii_hexdigit());
        let names = !self.authority_route.is_empty() && !self.project_identifier.is_empty();
        let read = named(&self.project_route, self.second().to_owned());
        let same = read.0 == self.project_identifier && read.1 == self.project_node;
        // With the commas between them.
        let length = fields.iter().map(|field| field.len() + 1).sum::<usize>();
        let not_json = !self.project_route.starts_with('{');
        if code_fits && names && same && not_json && length <= MAX_FIELDS && fields.iter().all(plain) {
            Ok(self)
        } else {
            Err(malformed())
        }
    }

    /// What stands in the second field.
    fn second(&self) -> &str {
        if self.project_node.is_empty() { &self.project_identifier } else { &self.project_node }
    }

    fn list(&self) -> [&str; 7] {
        [
            &self.project_route,
            self.second(),
            &self.project_name,
            &self.code,
            &self.project_change_history,
            &self.authority_change_history,
            &self.authority_route,
        ]
    }

    /// The identity that the ticket pins as the authority.
    ///
    /// # Errors
    /// [`Kind::Invalid`] when its history does not verify.
    pub fn authority(&self) -> Result<Identity> {
        Identity::import_hex(&self.authority_change_history).map_err(|e| {
            Error::new(Kind::Invalid, format!("the ticket's authority does not verify: {e}")).with_source(e)
        })
    }

    /// The seven fields.
    #[must_use]
    pub fn fields(&self) -> Zeroizing<String> {
        Zeroizing::new(self.list().join(","))
    }

    /// The JSON form.
    ///
    /// # Errors
    /// Never for what [`checked`](Self::checked) took.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::to_value(Json {
            one_time_code: self.code.clone(),
            project_route: Route { id: self.project_identifier.clone(), route: self.project_route.clone() },
            project_identifier: Some(self.second().to_owned()),
            project_name: self.project_name.clone(),
            project_change_history: Some(self.project_change_history.clone()),
            authority_change_history: self.authority_change_history.clone(),
            authority_route: self.authority_route.clone(),
        })
        .map_err(|e| Error::new(Kind::Internal, "writing JSON failed").with_source(e))
    }

    /// The older form: JSON as hex.
    ///
    /// # Errors
    /// Never for what [`checked`](Self::checked) took.
    pub fn legacy(&self) -> Result<Zeroizing<String>> {
        let some = |field: &String| Some(field.clone()).filter(|field| !field.is_empty());
        let project = LegacyProject {
            id: self.project_identifier.clone(),
            name: self.project_name.clone(),
            access_route: self.project_route.clone(),
            identity: some(&self.project_node),
            project_change_history: some(&self.project_change_history),
            authority_access_route: some(&self.authority_route),
            authority_identity: some(&self.authority_change_history),
            ..LegacyProject::default()
        };
        let json =
            serde_json::to_vec(&Legacy { one_time_code: self.code.clone(), project }).map(Zeroizing::new);
        let json = json.map_err(|e| Error::new(Kind::Internal, "writing JSON failed").with_source(e))?;
        Ok(Zeroizing::new(hex::encode(&*json)))
    }
}

/// The project's identifier and its node's, from the first two fields. The reference has the node's in the second, and the
/// project's in the first; where there is no node, ours has the project's in both.
fn named(route: &str, second: String) -> (String, String) {
    match project_of_route(route) {
        Some(project) if project != second && second.parse::<Identifier>().is_ok() => {
            (project.to_owned(), second)
        }
        _ => (second, String::new()),
    }
}

/// What stands after the first `service` of a route.
fn project_of_route(route: &str) -> Option<&str> {
    let mut parts = route.strip_prefix('/')?.split('/');
    while let (Some(kind), Some(name)) = (parts.next(), parts.next()) {
        if kind == "service" {
            return Some(name).filter(|name| !name.is_empty());
        }
    }
    None
}

// The text is a secret.
impl fmt::Debug for TicketText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketText").field("project", &self.project_identifier).finish_non_exhaustive()
    }
}

// The text is a secret: no message repeats it.
fn malformed() -> Error {
    Error::new(Kind::Invalid, "this is not an enrolment ticket").with_hint(
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

    fn refused(text: &str) {
        let Err(error) = TicketText::parse(text) else { panic!("{text} is taken") };
        assert_eq!(error.to_string(), "this is not an enrolment ticket");
    }

    #[test]
    fn every_form_says_the_same() {
        let one = TicketText::parse(&text()).unwrap();
        assert_eq!(*one.fields(), text());
        let json = one.json().unwrap().to_string();
        for form in [hex::encode(text()), hex::encode(&json), json, format!("{},more", text())] {
            assert_eq!(TicketText::parse(&form).unwrap(), one);
        }
    }

    fn node() -> String {
        format!("I{}", "0f".repeat(32))
    }

    #[test]
    fn no_form_loses_a_field() {
        let node = node();
        let full = format!("/service/p1,{node},name,{CODE},8180,8182,http://127.0.0.1:4100");
        let ticket = TicketText::parse(&full).unwrap();
        let fields =
            [&ticket.project_route, &ticket.project_identifier, &ticket.project_node, &ticket.project_name];
        assert_eq!(fields.map(String::as_str), ["/service/p1", "p1", &node, "name"]);
        let fields = [
            &ticket.code,
            &ticket.project_change_history,
            &ticket.authority_change_history,
            &ticket.authority_route,
        ];
        assert_eq!(fields.map(String::as_str), [CODE, "8180", "8182", "http://127.0.0.1:4100"]);
        let json = ticket.json().unwrap().to_string();
        let forms = [ticket.fields().to_string(), hex::encode(&full), hex::encode(&json), json];
        for form in forms.into_iter().chain([ticket.legacy().unwrap().to_string()]) {
            assert_eq!(TicketText::parse(&form).unwrap(), ticket, "{form}");
        }
    }

    /// What a reader would take for another project, or for another node, is not written.
    #[test]
    fn a_project_or_a_node_that_cannot_be_told_from_the_fields_is_refused() {
        let checked = |route: &str, project: &str| {
            let mut ticket = TicketText::parse(&text()).unwrap();
            ticket.project_route = route.to_owned();
            ticket.project_identifier = project.to_owned();
            ticket.project_node = node();
            ticket.checked().map_err(|error| error.to_string())
        };
        assert!(checked("/service/p1", "p1").is_ok());
        let own = node();
        for (route, project) in [("/service/p1", "p2"), ("/node/p1", "p1"), ("/node/p1", own.as_str())] {
            assert_eq!(checked(route, project).unwrap_err(), "this is not an enrolment ticket", "{route}");
        }
    }

    #[test]
    fn the_project_is_told_by_the_route_where_the_second_field_is_a_node() {
        let route = "/dnsaddr/h/tcp/4000/service/p1/service/api";
        let with_node = text().replace("/service/p1,p1,", &format!("{route},{},", node()));
        let ticket = TicketText::parse(&with_node).unwrap();
        assert_eq!((&*ticket.project_identifier, &ticket.project_node), ("p1", &node()));
        let json = ticket.json().unwrap();
        assert_eq!(
            (&json["project_route"]["id"], &json["project_identifier"]),
            (&"p1".into(), &node().into())
        );
        for form in [ticket.fields().to_string(), json.to_string(), ticket.legacy().unwrap().to_string()] {
            assert_eq!(TicketText::parse(&form).unwrap(), ticket);
        }
        // A route that does not name the project leaves the node out.
        for route in ["", "/", "/service", "/service/", "/node/p1", "/node/service/p1/x", "/service/other"] {
            let mut other = ticket.clone();
            other.project_route = route.to_owned();
            let other = other.of_node(node().parse().ok()).checked().unwrap();
            assert_eq!((&*other.project_identifier, &*other.project_node), ("p1", ""), "{route}");
            assert_eq!(TicketText::parse(&other.fields()).unwrap(), other, "{route}");
        }
        // A project may have such an identifier itself, when the route says the same.
        let own = text().replace("p1", &node());
        assert_eq!(TicketText::parse(&own).unwrap().project_identifier, node());
        let mut ambiguous = TicketText::parse(&own).unwrap();
        ambiguous.project_route = "/service/other".to_owned();
        assert_eq!(ambiguous.checked().unwrap_err().to_string(), "this is not an enrolment ticket");
    }

    #[test]
    fn the_older_form_is_read() {
        let project = serde_json::json!({
            "id": "p1", "name": "name", "space_name": "", "access_route": "/dnsaddr/h/tcp/4000/service/p1/service/api",
            "users": [], "space_id": "", "identity": node(), "project_change_history": "81", "user_roles": [],
            "authority_access_route": "/dnsaddr/a/tcp/1/service/api", "authority_identity": "8182",
        });
        let ticket = serde_json::json!({ "one_time_code": CODE, "project": project });
        for form in [ticket.to_string(), hex::encode(ticket.to_string())] {
            let read = TicketText::parse(&form).unwrap();
            let wanted = format!(
                "/dnsaddr/h/tcp/4000/service/p1/service/api,{},name,{CODE},81,8182,/dnsaddr/a/tcp/1/service/api",
                node()
            );
            assert_eq!((&*read.project_identifier, &**read.fields()), ("p1", &*wanted));
        }
        for missing in ["id", "name", "access_route", "authority_access_route"] {
            let mut without = ticket.clone();
            without["project"].as_object_mut().unwrap().remove(missing);
            refused(&without.to_string());
        }
    }

    #[test]
    fn what_is_no_ticket_is_refused_without_repeating_it() {
        let hexed_twice = hex::encode(hex::encode(text()));
        for bad in ["", "x", "a,b,c", &CODE[1..], "{}", &hexed_twice, &text().replace(CODE, "12")] {
            refused(bad);
        }
    }

    #[test]
    fn what_only_json_could_hold_is_refused() {
        let json = TicketText::parse(&text()).unwrap().json().unwrap().to_string();
        assert!(TicketText::parse(&json.replace("\"name\"", "\"a name\"")).is_ok());
        for name in ["a,b", " a", "a\\n", "a\\u001b[31m"] {
            refused(&json.replace("\"name\"", &format!("\"{name}\"")));
        }
        refused(&json.replace("\"/service/p1\"", "\"{/service/p1\""));
    }

    #[test]
    fn length() {
        let room = MAX_FIELDS - text().len() - 1;
        let with = |length: usize| text().replace("name", &("name".to_owned() + &"x".repeat(length)));
        let largest = with(room);
        assert_eq!(TicketText::parse(&largest).unwrap().fields().len(), MAX_FIELDS - 1);
        assert!(TicketText::parse(&hex::encode(&largest)).is_ok());
        for longer in [with(room + 1), hex::encode(with(room + 1)), "0".repeat(MAX_TICKET_TEXT + 2)] {
            refused(&longer);
        }
    }

    #[test]
    fn the_limits_are_the_documented_ones() {
        assert_eq!(MAX_FIELDS, 1_114_112);
        assert_eq!(MAX_TICKET_TEXT, 2_228_224);
        // Fields after the seventh count as well, before the text is made hex and after it.
        let full = format!("{},{}", text(), "x".repeat(MAX_FIELDS - text().len() - 1));
        assert_eq!(full.len(), MAX_FIELDS);
        assert!(TicketText::parse(&full).is_ok());
        assert!(TicketText::parse(&hex::encode(&full)).is_ok());
        refused(&format!("{full}x"));
    }

    #[test]
    fn a_ticket_names_its_project_and_its_authority() {
        refused(&text().replace(",p1,", ",,"));
        refused(&text().replace("http://127.0.0.1:4100", ""));
        refused(&text().replace(CODE, &CODE.replace('0', "g")));
    }
}
