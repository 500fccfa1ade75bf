//! Members and their attributes.

use std::collections::BTreeMap;
use std::fmt;

use identity::{Identifier, Timestamp, check_attribute};
use serde::{Deserialize, Serialize};

use crate::http::openapi::{IdentifierText, Seconds};
use crate::problem::Problem;

/// The attribute that makes a member an enroller.
pub const ROLE_ATTRIBUTE: &str = "ockam-role";
/// The one value of [`ROLE_ATTRIBUTE`] that does.
pub const ENROLLER: &str = "enroller";
/// The most attributes of a member.
pub const MAX_MEMBER_ATTRIBUTES: usize = 128;
/// The most bytes of all names and values of a member together.
pub const MAX_MEMBER_ATTRIBUTE_BYTES: usize = 32 * 1024;

/// Attributes that were checked: no reserved name, within the limits. Printed for debugging without values.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct MemberAttributes(BTreeMap<String, String>);

impl MemberAttributes {
    /// Checks attributes.
    ///
    /// # Errors
    /// [`Problem::Malformed`] for a reserved, empty or overlong name, and for too many or too large ones.
    pub fn new(map: BTreeMap<String, String>) -> Result<Self, Problem> {
        let mut bytes = 0_usize;
        for (name, value) in &map {
            check_attribute(name, value).map_err(|error| Problem::malformed(error.to_string()))?;
            bytes = bytes.saturating_add(name.len()).saturating_add(value.len());
        }
        if map.len() > MAX_MEMBER_ATTRIBUTES {
            return Err(Problem::malformed(format!("more than {MAX_MEMBER_ATTRIBUTES} attributes")));
        }
        if bytes > MAX_MEMBER_ATTRIBUTE_BYTES {
            return Err(Problem::malformed(format!(
                "the attributes take more than {MAX_MEMBER_ATTRIBUTE_BYTES} bytes"
            )));
        }
        Ok(Self(map))
    }

    /// As [`new`](Self::new), from pairs.
    ///
    /// # Errors
    /// As `new`.
    pub fn of<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Problem> {
        Self::new(pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// Names and values, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether they say anything about the member's role, be it a role that means something or not.
    #[must_use]
    pub fn name_a_role(&self) -> bool {
        self.0.contains_key(ROLE_ATTRIBUTE)
    }

    /// Whether they make an enroller.
    #[must_use]
    pub fn make_an_enroller(&self) -> bool {
        self.get(ROLE_ATTRIBUTE) == Some(ENROLLER)
    }

    pub(crate) fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

impl TryFrom<BTreeMap<String, String>> for MemberAttributes {
    type Error = Problem;

    fn try_from(map: BTreeMap<String, String>) -> Result<Self, Problem> {
        Self::new(map)
    }
}

impl From<MemberAttributes> for BTreeMap<String, String> {
    fn from(attributes: MemberAttributes) -> Self {
        attributes.0
    }
}

impl fmt::Debug for MemberAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Somebody the authority issues credentials to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Member {
    /// Who.
    #[schema(value_type = IdentifierText)]
    pub identifier: Identifier,
    /// What their credentials say.
    pub attributes: MemberAttributes,
    /// Who added them: an enroller, the issuer of their ticket, or the authority itself.
    #[schema(value_type = IdentifierText)]
    pub added_by: Identifier,
    /// When.
    #[schema(value_type = Seconds)]
    pub added_at: Timestamp,
    /// Whether they were named when the authority was started, and cannot be deleted by a request.
    pub pre_trusted: bool,
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T, C> {
    /// What is on it, in the order of its cursor.
    pub items: Vec<T>,
    /// Where the next page starts after, when there may be one.
    #[serde(skip_serializing_if = "Option::is_none", default = "Option::default")]
    pub next: Option<C>,
}

/// The most items on a page.
pub const MAX_PAGE: usize = 1000;

impl<T, C> Page<T, C> {
    pub(crate) fn new(items: Vec<T>, limit: usize, cursor: impl Fn(&T) -> C) -> Self {
        let next = if items.len() >= limit { items.last().map(cursor) } else { None };
        Self { items, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_and_floods_are_refused() {
        for name in ["identifier", "has_credential", "", "a b", "a\0"] {
            assert_eq!(MemberAttributes::of([(name, "x")]).unwrap_err().code(), "malformed", "{name:?}");
        }
        let many = (0..=MAX_MEMBER_ATTRIBUTES).map(|n| (n.to_string(), String::new())).collect();
        assert!(MemberAttributes::new(many).is_err());
        let large = (0..9).map(|n| (n.to_string(), "x".repeat(4000))).collect();
        assert!(MemberAttributes::new(large).is_err());
    }

    #[test]
    fn only_the_exact_value_makes_an_enroller() {
        for (value, enrols) in [("enroller", true), ("Enroller", false), ("enroller ", false), ("", false)] {
            let attributes = MemberAttributes::of([(ROLE_ATTRIBUTE, value)]).unwrap();
            assert_eq!(attributes.make_an_enroller(), enrols);
            assert!(attributes.name_a_role());
        }
    }

    #[test]
    fn what_is_decoded_is_checked_and_values_are_not_printed() {
        assert!(serde_json::from_str::<MemberAttributes>(r#"{"identifier":"x"}"#).is_err());
        let attributes: MemberAttributes = serde_json::from_str(r#"{"colour":"secret-value"}"#).unwrap();
        assert_eq!(format!("{attributes:?}"), r#"{"colour"}"#);
    }
}
