//! Signing with a key on a token through its handle, beside calls of `C_Sign` on the same token that do nothing else.
//!
//! Ours queues a request for a worker that has a session, and a [`Signer`] checks what comes back. The two prices are
//! shown apart: one row asks the facet, which does not check, the next the signer.

use std::sync::Arc;
use std::thread::available_parallelism;

use cryptoki::context::{Function, Pkcs11};
use cryptoki::error::{Error as LibraryError, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use pkcs11_vault::Pkcs11Backend;
use sha2::{Digest as _, Sha256};
use tokio::runtime::{Builder, Runtime};
use vault::{Algorithm, Backend as _, Nobody, Signer, block_on};

use super::raw::{RawVerifier, bytes};
use super::{ALGORITHMS, MESSAGE, Row, software};
use crate::contender::Runner;
use crate::softhsm::{LABEL, MODULE, Token};
use crate::{Contender, Result};

/// Several callers at once: more than any token has sessions to spare.
const MANY: usize = 64;

/// Adds the rows, and says what the module is.
pub(super) fn rows(token: &Token, rows: &mut Vec<Row>) -> Result<String> {
    let vault = block_on(Pkcs11Backend::new().open(&token.uri()?, Arc::new(Nobody)))?;
    let device = Device::find()?;
    let threads = available_parallelism().map_or(1, usize::from);
    let runtime = Arc::new(Builder::new_multi_thread().worker_threads(threads).build()?);
    for algorithm in ALGORITHMS {
        let name = format!("bench-{algorithm}");
        let signer = software::signer(&vault, &name, algorithm)?;
        let bench = Bench {
            raw: RawKey { device: device.clone(), label: name },
            check: RawVerifier::parse(algorithm, signer.public().as_bytes())?,
            signer,
            runtime: Arc::clone(&runtime),
        };
        rows.extend([
            bench.facet_alone()?,
            bench.signer_alone()?,
            bench.facet_crowd()?,
            bench.signer_crowd()?,
        ]);
    }
    let info = device.context.get_library_info()?;
    let version = info.library_version();
    Ok(format!("{} {}.{}", info.manufacturer_id().trim(), version.major(), version.minor()))
}

/// The token, without a vault.
#[derive(Clone)]
struct Device {
    context: Pkcs11,
    slot: Slot,
}

impl Device {
    /// The same module again: the vault has initialised it, and has logged in for this process.
    fn find() -> Result<Self> {
        let context = Pkcs11::new(MODULE)?;
        for slot in context.get_slots_with_token()? {
            if context.get_token_info(slot)?.label() == LABEL {
                return Ok(Self { context, slot });
            }
        }
        Err("the token is not there".into())
    }
}

/// A key on the token, by its label.
#[derive(Clone)]
struct RawKey {
    device: Device,
    label: String,
}

/// A session of its own with the key's object at hand: all that `C_Sign` needs.
struct RawSession {
    session: Session,
    key: ObjectHandle,
    algorithm: Algorithm,
}

impl RawKey {
    fn open(&self, algorithm: Algorithm) -> Result<RawSession> {
        let session = match self.device.context.open_ro_session(self.device.slot) {
            Err(LibraryError::Pkcs11(RvError::CryptokiNotInitialized, Function::OpenSession)) => {
                return Err("the vault closed the module".into());
            }
            other => other?,
        };
        let wanted =
            [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(self.label.clone().into_bytes())];
        let key = *session.find_objects(&wanted)?.first().ok_or("the key is not on the token")?;
        Ok(RawSession { session, key, algorithm })
    }

    fn open_many(&self, algorithm: Algorithm) -> Result<Vec<RawSession>> {
        (0..MANY).map(|_| self.open(algorithm)).collect()
    }
}

impl RawSession {
    fn sign(&self) -> Result<[u8; 64]> {
        let signature = match self.algorithm {
            Algorithm::EcdsaP256 => {
                self.session.sign(&Mechanism::Ecdsa, self.key, &Sha256::digest(MESSAGE))?
            }
            _ => {
                let pure = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519));
                self.session.sign(&pure, self.key, &MESSAGE)?
            }
        };
        Ok(signature.try_into().map_err(|_| "the token returned no signature of 64 bytes")?)
    }
}

/// One key, the ways to use it, and the public half.
struct Bench {
    signer: Signer,
    raw: RawKey,
    check: RawVerifier,
    runtime: Arc<Runtime>,
}

const LOOP: &str = "cryptoki: C_Sign, the object at hand, one session";
const LOOPS: &str = "cryptoki: C_Sign, the object at hand, a thread and a session each";

impl Bench {
    fn facet_alone(&self) -> Result<Row> {
        let (signer, raw) = (self.signer.clone(), self.open()?);
        let ours = Contender::awaited(
            "pkcs11: SigningFacet::sign",
            Runner::Plain,
            async move || unchecked(&signer).await,
            self.right(),
        );
        let peer = Contender::called(LOOP, move || raw.sign(), self.right());
        Ok(self.row("one caller, not checked", vec![ours, peer]))
    }

    fn signer_alone(&self) -> Result<Row> {
        let (signer, raw, raw_checked, check) = (self.signer.clone(), self.open()?, self.open()?, self.check);
        let ours = Contender::awaited(
            "vault: Signer::sign, which verifies",
            Runner::Plain,
            async move || checked(&signer).await,
            self.right(),
        );
        let and_check = Contender::called(
            "the same loop, verifying what comes back",
            move || {
                let signature = raw_checked.sign()?;
                check.verify(&MESSAGE, &signature)?;
                Ok(signature)
            },
            self.right(),
        );
        let peer = Contender::called(LOOP, move || raw.sign(), self.right());
        Ok(self.row("one caller, checked", vec![ours, peer, and_check]))
    }

    fn facet_crowd(&self) -> Result<Row> {
        let ours = Contender::crowd(
            "pkcs11: SigningFacet::sign, a thread each",
            vec![self.signer.clone(); MANY],
            |signer| block_on(unchecked(signer)),
            self.right(),
        );
        let tasks = Contender::tasks(
            "pkcs11: SigningFacet::sign, a task each",
            Arc::clone(&self.runtime),
            vec![self.signer.clone(); MANY],
            |signer| async move { unchecked(&signer).await },
            self.right(),
        );
        let peer = Contender::crowd(LOOPS, self.open_many()?, |raw| raw.sign(), self.right());
        Ok(self.row("64 callers, not checked", vec![ours, peer, tasks]))
    }

    fn signer_crowd(&self) -> Result<Row> {
        let check = self.check;
        let ours = Contender::crowd(
            "vault: Signer::sign, which verifies, a thread each",
            vec![self.signer.clone(); MANY],
            |signer| block_on(checked(signer)),
            self.right(),
        );
        let tasks = Contender::tasks(
            "vault: Signer::sign, which verifies, a task each",
            Arc::clone(&self.runtime),
            vec![self.signer.clone(); MANY],
            |signer| async move { checked(&signer).await },
            self.right(),
        );
        let peer = Contender::crowd(LOOPS, self.open_many()?, |raw| raw.sign(), self.right());
        let and_check = Contender::crowd(
            "the same loops, verifying what comes back",
            self.open_many()?,
            move |raw| {
                let signature = raw.sign()?;
                check.verify(&MESSAGE, &signature)?;
                Ok(signature)
            },
            self.right(),
        );
        Ok(self.row("64 callers, checked", vec![ours, peer, and_check, tasks]))
    }

    fn open(&self) -> Result<RawSession> {
        self.raw.open(self.signer.algorithm())
    }

    fn open_many(&self) -> Result<Vec<RawSession>> {
        self.raw.open_many(self.signer.algorithm())
    }

    fn right(&self) -> impl Fn([u8; 64]) -> Result<()> + 'static {
        let check = self.check;
        move |signature| check.verify(&MESSAGE, &signature)
    }

    fn row(&self, how: &str, contenders: Vec<Contender>) -> Row {
        Row { name: format!("sign, {}, on a token, {how}", self.signer.algorithm()), contenders }
    }
}

async fn unchecked(signer: &Signer) -> Result<[u8; 64]> {
    let facet = signer.vault().signing().ok_or("the token does not sign")?;
    Ok(bytes(&facet.sign(signer.handle(), &MESSAGE).await?))
}

async fn checked(signer: &Signer) -> Result<[u8; 64]> {
    Ok(bytes(&signer.sign(&MESSAGE).await?))
}
