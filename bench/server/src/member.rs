//! Those who enrol: each with an identity, a request key, a ticket, and the two requests that they will send.

use identity::{Clock as _, Identifier, Identity, RequestKeyAttestation, SystemClock, Validity};
use serde_json::json;
use std::sync::Arc;
use vault::soft::SoftVault;
use vault::{KeyName, KeySpec, Signer, Vault, block_on};

use crate::Result;
use crate::authority::Site;
use crate::request::{Asker, shown};

/// How long a request key is vouched for, in seconds.
const REQUEST_KEY: u64 = 3600;

/// Somebody about to enrol.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who it is.
    pub identifier: Identifier,
    pub(crate) enrol: Vec<u8>,
    pub(crate) credential: Vec<u8>,
}

/// Who will enrol, before anything is signed: keys, identities and attestations live longer than a request.
#[derive(Debug)]
pub struct Fleet(Vec<Person>);

#[derive(Debug)]
struct Person {
    identity: Identity,
    key: Signer,
    shown: String,
}

pub(crate) fn signer(vault: &Arc<dyn Vault>, name: &str) -> Result<Signer> {
    let keys = vault.signing().ok_or("the vault does not sign")?;
    let key = block_on(keys.generate(&KeySpec::ed25519(KeyName::new(name)?)))?;
    Ok(Signer::bind(Arc::clone(vault), key)?)
}

impl Fleet {
    /// So many.
    ///
    /// # Errors
    /// When a key cannot be made.
    pub fn new(count: usize) -> Result<Self> {
        let now = SystemClock.now();
        let person = |_| {
            let vault: Arc<dyn Vault> = Arc::new(SoftVault::in_memory()?);
            let (primary, key) = (signer(&vault, "primary")?, signer(&vault, "requests")?);
            let identity = block_on(Identity::create(&primary, Validity::of_primary_key(now)))?;
            let valid = Validity::starting(now, REQUEST_KEY);
            let attest = RequestKeyAttestation::attest(&identity, &primary, key.public(), valid);
            let shown = shown(&identity, block_on(attest)?.encode()?)?;
            Ok(Person { identity, key, shown })
        };
        (0..count).map(person).collect::<Result<_>>().map(Self)
    }

    /// Has each sign its requests, with a ticket of its own. They are good for a minute.
    ///
    /// # Errors
    /// When a ticket cannot be made.
    pub fn sign(&self, site: &Site, once: bool) -> Result<Vec<Member>> {
        let codes = site.tickets(self.0.len())?;
        let (host, now) = (site.address().to_string(), SystemClock.now());
        let member = |(person, code): (&Person, String)| {
            let Person { identity, key, shown } = person;
            let asker = Asker { host: &host, authority: site.authority(), identity, key, now, once };
            let body = serde_json::to_vec(&json!({ "code": code }))?;
            let headers = format!("content-type: application/json\r\n{shown}");
            Ok(Member {
                identifier: identity.identifier(),
                enrol: asker.post("/v1/enrol", &headers, &body)?,
                credential: asker.post("/v1/credential", "", &[])?,
            })
        };
        self.0.iter().zip(codes).map(member).collect()
    }
}
