//! What is known when a policy is evaluated: names and their values.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::format;
use alloc::string::String;

use crate::error::{EnvError, EnvErrorKind};
use crate::value::Value;

/// What the names of a subject's attributes start with.
pub(crate) const SUBJECT: &str = "subject.";

/// Attribute names that no credential may carry: the engine itself binds `subject.identifier` and
/// `subject.has_credential`, and an attribute of that name would speak in its place.
pub const RESERVED_ATTRIBUTES: [&str; 2] = ["identifier", "has_credential"];

/// The names a policy may ask for, each with its value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Env(BTreeMap<String, Value>);

impl Env {
    /// An environment that binds nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is known about a subject that showed a valid credential: `subject.identifier`,
    /// `subject.has_credential` (`true`), and `subject.NAME` for each of its attributes, as a string.
    ///
    /// # Errors
    ///
    /// [`EnvErrorKind::Reserved`] when an attribute bears one of the [`RESERVED_ATTRIBUTES`],
    /// [`EnvErrorKind::Duplicate`] when two attributes bear one name.
    pub fn for_subject(
        identifier: &str,
        attributes: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
    ) -> Result<Self, EnvError> {
        let mut env = Self::new();
        for (name, value) in attributes {
            let (name, value) = (name.as_ref(), value.as_ref());
            if RESERVED_ATTRIBUTES.contains(&name) {
                return Err(EnvError::new(EnvErrorKind::Reserved, name));
            }
            match env.0.entry(format!("{SUBJECT}{name}")) {
                Entry::Vacant(entry) => entry.insert(Value::from(value)),
                Entry::Occupied(_) => return Err(EnvError::new(EnvErrorKind::Duplicate, name)),
            };
        }
        env.bind(format!("{SUBJECT}identifier"), identifier);
        env.bind(format!("{SUBJECT}has_credential"), true);
        Ok(env)
    }

    /// Binds `name` to `value`, in place of what it was bound to before.
    pub fn bind(&mut self, name: impl Into<String>, value: impl Into<Value>) -> &mut Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// The same as [`bind`](Self::bind), for writing an environment in one expression.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.bind(name, value);
        self
    }

    /// The value `name` is bound to.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Whether the engine itself says that the subject showed a credential.
    pub(crate) fn shows_a_credential(&self) -> bool {
        matches!(self.get("subject.has_credential"), Some(Value::Bool(true)))
    }

    /// All names and values, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec::Vec;

    #[test]
    fn a_subject_has_its_attributes_as_strings() {
        let env = Env::for_subject("I1", [("level", "3"), ("", "x"), ("a b", "y")]).unwrap();
        let all: Vec<_> = env.iter().map(|(name, value)| (name, value.to_string())).collect();
        let expected = [
            ("subject.", "\"x\""),
            ("subject.a b", "\"y\""),
            ("subject.has_credential", "true"),
            ("subject.identifier", "\"I1\""),
            ("subject.level", "\"3\""),
        ];
        assert_eq!(all, expected.map(|(name, value)| (name, value.to_string())));
    }

    #[test]
    fn an_attribute_cannot_speak_for_the_engine() {
        for name in RESERVED_ATTRIBUTES {
            let error = Env::for_subject("I1", [("role", "x"), (name, "I2")]).unwrap_err();
            assert_eq!((error.kind(), error.name()), (EnvErrorKind::Reserved, name));
        }
        let error = Env::for_subject("I1", [("a", "x"), ("a", "x")]).unwrap_err();
        assert_eq!(error.kind(), EnvErrorKind::Duplicate);
    }

    #[test]
    fn the_last_binding_counts() {
        let mut env = Env::new().with("a", 1);
        env.bind("a", "x").bind("b", 2.5);
        assert_eq!((env.get("a"), env.get("c")), (Some(&Value::from("x")), None));
    }
}
