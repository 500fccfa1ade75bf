//! Rotates and dies: the process that tests/rotation_crash.rs kills. Never shipped.
//!
//! ```text
//! rotation-crash setup HOME SETUP                          makes vaults and an identity
//! rotation-crash rotate HOME PLAN [MOMENT]                 rotates; kills itself at the moment
//! rotation-crash rotate-destroying-first HOME PLAN [MOMENT]
//! rotation-crash recover HOME null [MOMENT]                recovers; kills itself at the moment
//! rotation-crash halve HOME KEY                            destroys the private half of a key, and leaves the public one
//! rotation-crash look HOME null                            prints what the record says and what the tokens hold
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use home::rotation::{self, Moment, Plan, Witness};
use home::{Home, IdentityRecord, KeyRef, Name, NewKey, Vaults};
use identity::{Clock as _, PurposeKeyAttestation, SystemClock};
use ockam_kms_tests::rotation::{DONE, Held, IDENTITY, Look, Named, Place, READY, Setup, moment};
use vault::soft::{Lock, SoftBackend};
use vault::{KeyUri, Nobody, Pending, Registry, Scheme, Signer, block_on};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [verb, path, argument, death @ ..] = arguments.as_slice() else {
        return Err("which verb, in which home, with what?".into());
    };
    let death = death.first().map(|text| moment(text).ok_or("there is no such moment")).transpose()?;
    let home = Home::open(path)?;
    match verb.as_str() {
        "setup" => setup(&home, &serde_json::from_str(argument)?),
        "rotate" => rotate(&home, &serde_json::from_str(argument)?, death, false),
        "rotate-destroying-first" => rotate(&home, &serde_json::from_str(argument)?, death, true),
        "recover" => recover(&home, death),
        "halve" => halve(&home, &serde_json::from_str(argument)?),
        "look" => look(&home),
        other => Err(format!("there is no verb `{other}`").into()),
    }
}

fn vaults(home: &Home) -> Vaults {
    let registry = Registry::new().with(SoftBackend).with(pkcs11::Pkcs11Backend::new());
    Vaults::new(home.clone(), registry, Arc::new(Nobody))
}

/// Opens every vault beforehand, so that a death hits the rotation and not the way to it: SoftHSM rewrites a token's own
/// file at each login, in place, and a death in the midst of that loses the token with all that is on it.
fn open_all(vaults: &Vaults) -> Result<()> {
    for (name, _) in vaults.home().vaults()? {
        block_on(vaults.open(&name))?;
    }
    Ok(())
}

fn setup(home: &Home, setup: &Setup) -> Result<()> {
    let writer = home.write()?;
    for name in Place::Soft.vaults() {
        home.create_soft_vault(&writer, &Name::new(name)?, None, &Lock::KeyFile(None))?;
    }
    for (name, uri) in &setup.tokens {
        home.register_vault(&writer, &Name::new(name)?, &uri.parse()?)?;
    }
    let vaults = vaults(home);
    let (name, vault) = (Name::new(IDENTITY)?, Name::new(&setup.vault)?);
    let key = NewKey::Generate(Some(setup.key_type.parse()?));
    block_on(home.create_identity(&writer, &vaults, &name, &vault, key, &SystemClock))?;
    block_on(home.ensure_credential_key(
        &writer,
        &vaults,
        &name,
        SystemClock.now().after(3600),
        &SystemClock,
    ))?;
    Ok(())
}

/// Tells the test how far it got, and dies where it is told to.
struct Doomed<'a> {
    dies_at: Option<Moment>,
    /// What is wrong with the rotation, in the control: this key is destroyed as soon as both keys have signed, which is
    /// before the change is durable, and before it is committed to.
    destroys_first: Option<(&'a Vaults, KeyRef)>,
}

impl Witness for Doomed<'_> {
    fn take_over<'a>(
        &'a self,
        _: &'a IdentityRecord,
        _: Option<(Signer, PurposeKeyAttestation)>,
    ) -> Pending<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn reached(&self, moment: Moment) {
        if let Some((vaults, key)) = self.destroys_first.as_ref().filter(|_| moment == Moment::KeysSigned)
            && let Ok(signer) = block_on(key.open(vaults))
        {
            let _ = block_on(signer.destroy());
        }
        println!("{moment:?}");
        if self.dies_at == Some(moment) {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
}

fn rotate(home: &Home, plan: &Plan, dies_at: Option<Moment>, destroys_first: bool) -> Result<()> {
    let writer = home.write()?;
    let vaults = vaults(home);
    open_all(&vaults)?;
    let old_key = home.identity(&Name::new(&plan.identity)?)?.own_key()?.clone();
    let doomed = Doomed { dies_at, destroys_first: destroys_first.then_some((&vaults, old_key)) };
    println!("{READY}");
    block_on(rotation::rotate(&writer, &vaults, plan, &doomed, &SystemClock))?;
    println!("{DONE}");
    Ok(())
}

fn recover(home: &Home, dies_at: Option<Moment>) -> Result<()> {
    let writer = home.write()?;
    let vaults = vaults(home);
    let doomed = Doomed { dies_at, destroys_first: None };
    open_all(&vaults)?;
    println!("{READY}");
    for recovered in block_on(rotation::recover(&writer, &vaults, &doomed, &SystemClock, None))? {
        if let Err(e) = recovered.result {
            println!("failed {}: {e}", recovered.identity);
        }
    }
    println!("{DONE}");
    Ok(())
}

fn look(home: &Home) -> Result<()> {
    let mut held = BTreeMap::new();
    for (name, record) in home.vaults()? {
        let uri = record.uri()?;
        if uri.scheme() == Scheme::Pkcs11 {
            held.insert(name.to_string(), objects(&uri)?);
        }
    }
    let vaults = vaults(home);
    let record = home.identity(&Name::new(IDENTITY)?)?;
    let identity = record.identity()?;
    let mut cannot = Vec::new();
    let primary = record.own_key()?;
    match block_on(signs(primary, &vaults)) {
        Ok(public) if public == *identity.latest().primary_key() => {}
        Ok(_) => cannot.push("the primary key is not that of the latest change".to_owned()),
        Err(e) => cannot.push(format!("the primary key does not sign: {e}")),
    }
    let mut credential = None;
    if let Some(purpose_key) = record.credential_key() {
        if let Err(e) = block_on(signs(&purpose_key.key, &vaults)) {
            cannot.push(format!("the credential key does not sign: {e}"));
        }
        if let Err(e) = purpose_key.attestation()?.verify(&identity, SystemClock.now()) {
            cannot.push(format!("the credential key's attestation does not hold: {e}"));
        }
        credential = Some((named(&purpose_key.key)?, purpose_key.attestation.clone()));
    }
    let look = Look {
        identifier: identity.identifier().to_string(),
        history: identity.to_hex(),
        changes: identity.len(),
        primary: named(primary)?,
        credential,
        cannot,
        held,
        journals: Vec::new(),
    };
    println!("{}", serde_json::to_string(&look)?);
    Ok(())
}

fn named(key: &KeyRef) -> Result<Named> {
    Ok(Named { vault: key.vault()?.to_string(), public: hex::encode(key.public()?.as_bytes()) })
}

/// Signs a probe; answers the key under which it verifies.
async fn signs(key: &KeyRef, vaults: &Vaults) -> home::Result<vault::VerifyingKey> {
    let signer = key.open(vaults).await?;
    let signature = signer.sign(b"a probe").await?;
    let public = key.public()?;
    let _proof = public.verify(b"a probe", &signature)?;
    Ok(public)
}

/// What a token says of an object.
#[derive(Default)]
struct Object {
    class: Option<ObjectClass>,
    name: Vec<u8>,
    id: Vec<u8>,
    curve: Vec<u8>,
    point: Vec<u8>,
}

impl Object {
    fn read(session: &Session, handle: ObjectHandle) -> Self {
        let mut object = Self::default();
        use AttributeType::{Class, EcParams, EcPoint, Id, Label};
        // One by one, since an object that was cut off while it was made does not state all of them.
        for wanted in [Class, Label, Id, EcParams, EcPoint] {
            match session.get_attributes(handle, &[wanted]).unwrap_or_default().pop() {
                Some(Attribute::Class(value)) => object.class = Some(value),
                Some(Attribute::Label(value)) => object.name = value,
                Some(Attribute::Id(value)) => object.id = value,
                Some(Attribute::EcParams(value)) => object.curve = value,
                Some(Attribute::EcPoint(value)) => object.point = value,
                _ => {}
            }
        }
        object
    }

    /// The public half, as hex. The point is a DER octet string, of two bytes and the key.
    fn key(&self) -> String {
        hex::encode(self.point.get(2..).unwrap_or_default())
    }

    /// SoftHSM writes an object attribute by attribute, the name and the key last. A death in between leaves one that has
    /// neither.
    fn is_unfinished(&self) -> bool {
        [&self.name, &self.id, &self.curve, &self.point].into_iter().all(Vec::is_empty)
    }
}

/// The token of a vault, without our own backend.
fn token(vault: &KeyUri) -> Result<(Pkcs11, Session)> {
    let pin_file = vault.require("pin-source")?.trim_start_matches("file:");
    let pin = std::fs::read_to_string(Path::new(pin_file))?;
    let module = Pkcs11::new(vault.require("module-path")?)?;
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
    let label = vault.require("token")?;
    let mut slot = None;
    for candidate in module.get_slots_with_initialized_token()? {
        if module.get_token_info(candidate)?.label() == label {
            slot = Some(candidate);
        }
    }
    let session = module.open_rw_session(slot.ok_or("the token is not there")?)?;
    session.login(UserType::User, Some(&AuthPin::new(pin.trim().into())))?;
    Ok((module, session))
}

fn halve(home: &Home, key: &Named) -> Result<()> {
    let (module, session) = token(&home.vault(&Name::new(&key.vault)?)?.uri()?)?;
    for handle in session.find_objects(&[Attribute::Class(ObjectClass::PUBLIC_KEY)])? {
        let public = Object::read(&session, handle);
        if public.key() == key.public {
            let id = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Id(public.id)];
            for private in session.find_objects(&id)? {
                session.destroy_object(private)?;
            }
        }
    }
    drop(session);
    module.finalize()?;
    Ok(())
}

/// Every object of a token, as the token lists them.
fn objects(vault: &KeyUri) -> Result<Held> {
    let (module, session) = token(vault)?;
    let mut held = Held::default();
    let (mut private, mut public) = (BTreeSet::new(), BTreeMap::new());
    for handle in session.find_objects(&[])? {
        let object = Object::read(&session, handle);
        if object.is_unfinished() {
            held.unfinished += 1;
            continue;
        }
        let what = (String::from_utf8_lossy(&object.name).into_owned(), hex::encode(&object.id));
        let single = match object.class {
            Some(ObjectClass::PRIVATE_KEY) => private.insert(what.clone()),
            Some(ObjectClass::PUBLIC_KEY) => public.insert(what.clone(), object.key()).is_none(),
            _ => false,
        };
        if !single {
            held.odd.push(format!("the object {:?} {what:?}", object.class));
        }
    }
    drop(session);
    module.finalize()?;
    for (what, key) in public {
        if private.remove(&what) {
            held.keys.push(key);
        } else {
            held.odd.push(format!("the public half of {what:?} alone"));
        }
    }
    held.odd.extend(private.into_iter().map(|what| format!("the private half of {what:?} alone")));
    held.keys.sort();
    Ok(held)
}
