//! Policies of a node: who may reach a resource, decided by what the peer's credentials say (`policy_lang`, strict meaning).
//!
//! A resource has a name and a type. The policy of its name decides, else that of its type, else the node's default; where
//! there is none at all, everybody is admitted whom the worker's admission lets through.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use channel::{Address, Peer};
use identity::Timestamp;
use policy_lang::{Decision, Env, Policy};

use crate::admission::Gate;
use crate::message::Origin;

/// The only action that there is.
pub const ACTION: &str = "handle_message";

/// What a policy is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// The resource of this name.
    Name(String),
    /// All resources of this type, but for those whose name has a policy.
    Type(String),
}

/// The policies of a node. Its clones are the same policies.
#[derive(Clone, Default)]
pub struct Policies(Arc<RwLock<Kept>>);

#[derive(Default)]
struct Kept {
    default: Option<Policy>,
    policies: BTreeMap<Resource, Policy>,
}

impl Policies {
    /// Policies with a default for every resource that has none.
    #[must_use]
    pub fn with_default(default: Policy) -> Self {
        Self(Arc::new(RwLock::new(Kept { default: Some(default), policies: BTreeMap::new() })))
    }

    /// Sets the policy of a resource, in place of the one that it has. It decides from the next message on.
    pub fn set(&self, resource: Resource, policy: Policy) {
        self.write(|kept| kept.policies.insert(resource, policy));
    }

    /// Removes the policy of a resource. Whether there was one.
    #[must_use]
    pub fn remove(&self, resource: &Resource) -> bool {
        self.write(|kept| kept.policies.remove(resource)).is_some()
    }

    /// The policies, ordered by resource.
    #[must_use]
    pub fn list(&self) -> Vec<(Resource, Policy)> {
        self.read(|kept| {
            kept.policies.iter().map(|(resource, policy)| (resource.clone(), policy.clone())).collect()
        })
    }

    /// What guards a resource.
    #[must_use]
    pub fn gate(&self, name: &str, resource_type: &str) -> Arc<dyn Gate> {
        Arc::new(Guard {
            policies: self.clone(),
            name: Some(name.to_owned()),
            resource_type: Resource::Type(resource_type.to_owned()),
        })
    }

    /// What guards whatever it stands before, under the name of its address, when there is a policy of that name or of the
    /// type: the default is for others.
    #[must_use]
    pub fn gate_if_any(&self, resource_type: &str) -> Arc<dyn Gate> {
        Arc::new(Guard {
            policies: self.clone(),
            name: None,
            resource_type: Resource::Type(resource_type.to_owned()),
        })
    }

    fn read<T>(&self, read: impl FnOnce(&Kept) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, write: impl FnOnce(&mut Kept) -> T) -> T {
        write(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Policies").field(&self.list().len()).finish()
    }
}

struct Guard {
    policies: Policies,
    /// That of the address, when there is none.
    name: Option<String>,
    resource_type: Resource,
}

impl Gate for Guard {
    fn admits(&self, to: &Address, origin: &Origin, now: Timestamp) -> bool {
        let id = match &self.name {
            Some(name) => name.clone(),
            None => String::from_utf8_lossy(to.value()).into_owned(),
        };
        let name = Resource::Name(id.clone());
        let policy = self.policies.read(|kept| {
            let own = kept.policies.get(&name).or_else(|| kept.policies.get(&self.resource_type));
            own.or(kept.default.as_ref().filter(|_| self.name.is_some())).cloned()
        });
        let Some(policy) = policy else { return true };
        let Origin::Channel(link) = origin else {
            tracing::info!(%to, %origin, %policy, "denied: who sends is not known without a channel");
            return false;
        };
        let peer = link.peer();
        let env = match facts(&peer, &id, now) {
            Ok(env) => env,
            Err(error) => {
                tracing::info!(%to, %origin, %error, "denied: the peer's attributes are refused");
                return false;
            }
        };
        let evaluation = policy.evaluate(&env);
        let allowed = evaluation.decision() == Decision::Allow;
        if !allowed {
            let reasons: Vec<_> = evaluation.reasons.iter().map(ToString::to_string).collect();
            tracing::info!(%to, %origin, %policy, reasons = reasons.join("; "), "denied");
        }
        allowed
    }
}

/// What is known of a peer: what its credentials say that were verified and are still good.
fn facts(peer: &Peer, resource: &str, now: Timestamp) -> Result<Env, policy_lang::EnvError> {
    let identifier = peer.identifier().to_string();
    let attributes: Vec<(String, String)> = peer
        .credentials(now)
        .flat_map(|credential| {
            credential.attributes().text().map(|(name, value)| (name.to_owned(), value.to_owned()))
        })
        .collect();
    let shown = peer.credentials(now).next().is_some();
    let mut env = if shown {
        Env::for_subject(&identifier, attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())))?
    } else {
        let mut env = Env::new();
        env.bind("subject.identifier", identifier).bind("subject.has_credential", false);
        env
    };
    env.bind("resource.id", resource).bind("action.id", ACTION);
    Ok(env)
}
