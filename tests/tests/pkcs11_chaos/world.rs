//! A vault on a token behind the chaos module, with a key for each purpose, and what is done with them. Each operation
//! checks what it got with software, so that an answer that is wrong and an answer that is an error are two things.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use cryptoki::context::Pkcs11;
use ockam_kms_tests::chaos::Chaos;
use ockam_kms_tests::softhsm::SoftHsm;
use pkcs11::Pkcs11Backend;
use vault::soft::SoftVault;
use vault::{
    Agreement, AgreementKey, Agreer, Backend, Error, Inventory, KeyHandle, KeyName, KeySpec, KeyUri, Kind,
    Nobody, Result, Sealer, Sealing, SealingFacet, SecretBytes, Signer, Signing, Vault, block_on,
};

pub(crate) const MESSAGE: &[u8] = b"message";

/// What is done while the script is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Opening the vault, with no other vault open, so that it has to log in.
    OpenVault,
    Sign,
    /// Signing in a session that turns out to be bad, so that another is opened.
    SignAnew,
    /// Signing when the token is not found, so that the module is reset.
    Return,
    OpenKey,
    Agree,
    Seal,
    Unseal,
    Generate,
    GenerateSecret,
    Destroy,
    List,
    Inventory,
}

impl Operation {
    /// What has to go wrong before the functions are called that this is about.
    pub(crate) fn prelude(self) -> &'static str {
        match self {
            Self::SignAnew => "C_SignInit call 1 answer 0xb3\n",
            Self::Return => {
                // Two slots: the token's, and the one that SoftHSM keeps free.
                "C_SignInit call 1 answer 0x32\nC_GetTokenInfo call 1 answer 0xe0\nC_GetTokenInfo call 2 answer 0xe0\n\
                 C_GetTokenInfo call 3 answer 0xe0\n"
            }
            _ => "",
        }
    }
}

/// The keys that are there before anything goes wrong, and what software knows of them.
struct Keys {
    signing: KeyHandle<Signing>,
    /// Others, that must not be used.
    other_signing: KeyHandle<Signing>,
    other_sealing: KeyHandle<Sealing>,
    agreement: KeyHandle<Agreement>,
    sealing: KeyHandle<Sealing>,
    sealed: Vec<u8>,
    peer: AgreementKey,
    agreed: SecretBytes,
}

pub(crate) struct World {
    pub(crate) chaos: Chaos,
    uri: KeyUri,
    backend: Pkcs11Backend,
    /// The module, as other code of the process sees it.
    module: Pkcs11,
    vault: Option<Arc<dyn Vault>>,
    keys: Keys,
    /// What was sealed while the script was followed, to be unsealed after it.
    sealed: Option<Vec<u8>>,
    made: usize,
}

/// A process that ends while a call is on its way into the module meets the module's own clean-up.
impl Drop for World {
    fn drop(&mut self) {
        self.chaos.clear();
        self.vault = None;
        let start = Instant::now();
        while !std::thread::panicking() && threads().iter().any(|name| is_ours(name)) {
            assert!(start.elapsed() < Duration::from_secs(30), "{:?}", threads());
            sleep(Duration::from_millis(10));
        }
    }
}

/// Whether a thread of this name calls modules.
fn is_ours(name: &str) -> bool {
    name.starts_with("device-") || name.starts_with("pkcs11-")
}

/// What the threads of this process are called.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok()).collect()
}

fn name(text: &str) -> KeyName {
    KeyName::new(text).unwrap()
}

/// An answer that is neither right nor an error.
fn wrong(what: &str) -> ! {
    panic!("a wrong answer came through: {what}")
}

impl World {
    pub(crate) fn new(hsm: &SoftHsm, deadline: Duration) -> Self {
        let chaos = Chaos::around(hsm);
        let uri = chaos.through(&hsm.init("t"));
        // One worker, so that every call of a request is the next one of its session.
        let backend = Pkcs11Backend::new().with_deadline(deadline).with_workers(1);
        let vault = block_on(backend.open(&uri, Arc::new(Nobody))).unwrap();
        let soft: Arc<dyn Vault> = Arc::new(SoftVault::in_memory().unwrap());
        let signing = block_on(vault.signing().unwrap().generate(&KeySpec::p256(name("signing")))).unwrap();
        let other_signing =
            block_on(vault.signing().unwrap().generate(&KeySpec::p256(name("other-signing")))).unwrap();
        let agreement = KeySpec::x25519(name("agreement"));
        let peer = block_on(soft.agreement().unwrap().generate(&agreement)).unwrap();
        let agreement = block_on(vault.agreement().unwrap().generate(&agreement)).unwrap();
        let agreed = block_on(soft.agreement().unwrap().agree(&peer, agreement.public())).unwrap();
        let spec = KeySpec::aes256_gcm(name("sealing"));
        let sealing = block_on(vault.sealing().unwrap().generate(&spec)).unwrap();
        let other_sealing = KeySpec::aes256_gcm(name("other-sealing"));
        let other_sealing = block_on(vault.sealing().unwrap().generate(&other_sealing)).unwrap();
        let sealed = block_on(vault.sealing().unwrap().seal(&sealing, MESSAGE, b"a")).unwrap();
        let peer = peer.public().clone();
        let keys = Keys { signing, other_signing, other_sealing, agreement, sealing, sealed, peer, agreed };
        let module = Pkcs11::new(uri.require("module-path").unwrap()).unwrap();
        Self { chaos, uri, backend, module, vault: Some(vault), keys, sealed: None, made: 0 }
    }

    /// Opens the vault again, as somebody would after a refusal that is for good.
    fn reopen(&mut self) -> Result<()> {
        self.vault = None;
        self.vault = Some(block_on(self.backend.open(&self.uri, Arc::new(Nobody)))?);
        Ok(())
    }

    /// Ends every session that lost answers left open, and opens the vault although other code of the process has
    /// finalised the module.
    pub(crate) fn start_afresh(&mut self) {
        self.vault = None;
        self.module.clone().finalize().unwrap();
        // It is not started again more often than a few times in a few seconds.
        let start = Instant::now();
        while let Err(error) = self.reopen() {
            assert!(start.elapsed() < Duration::from_secs(20), "{error}");
            sleep(Duration::from_millis(100));
        }
    }

    fn vault(&self) -> &Arc<dyn Vault> {
        self.vault.as_ref().expect("the vault is open")
    }

    /// What was sealed last.
    pub(crate) fn sealed(&self) -> &[u8] {
        self.sealed.as_deref().unwrap()
    }

    pub(crate) fn inventory(&self) -> Inventory {
        block_on(self.vault().inventory()).unwrap()
    }

    fn sign(&self) -> Result<()> {
        let key = &self.keys.signing;
        let signature = block_on(Signer::bind(Arc::clone(self.vault()), key.clone())?.sign(MESSAGE))?;
        if key.public().verify(MESSAGE, &signature).is_err() {
            wrong("a signature of another key, or none");
        }
        Ok(())
    }

    fn unseal(&self, sealed: &[u8]) -> Result<SecretBytes> {
        let sealer = Sealer::bind(Arc::clone(self.vault()), self.keys.sealing.clone())?;
        block_on(sealer.unseal(sealed, b"a"))
    }

    fn new_name(&self) -> KeyName {
        name(&format!("made-{}", self.made))
    }

    /// What has to be there before.
    pub(crate) fn prepare(&mut self, operation: Operation) {
        self.made += 1;
        match operation {
            Operation::OpenVault => self.vault = None,
            Operation::Destroy => {
                let facet = self.vault().signing().unwrap();
                block_on(facet.generate(&KeySpec::p256(self.new_name()))).unwrap();
            }
            // The first use of a key looks at it; what is tried is the second.
            Operation::OpenKey | Operation::Agree | Operation::Seal | Operation::Unseal => {
                self.run(operation).unwrap();
            }
            _ => {}
        }
        // The keys that the module uses when it takes the one before.
        match operation {
            Operation::Sign => {
                let facet = self.vault().signing().unwrap();
                block_on(facet.sign(&self.keys.other_signing, MESSAGE)).unwrap();
            }
            Operation::Seal | Operation::Unseal => {
                let facet = self.vault().sealing().unwrap();
                block_on(facet.seal(&self.keys.other_sealing, MESSAGE, b"a")).unwrap();
            }
            _ => {}
        }
    }

    /// Does it, and says in a word how it went: nothing in software can tell whether an agreed secret or a text that was
    /// unsealed is right, or a vault all that it was before.
    pub(crate) fn run(&mut self, operation: Operation) -> Result<&'static str> {
        if operation == Operation::OpenVault {
            self.reopen()?;
            return Ok(if self.vault().capabilities().iter().count() == 5 { "ok" } else { "ok, with less" });
        }
        let vault = Arc::clone(self.vault());
        let (signing, sealing) = (vault.signing().unwrap(), vault.sealing().unwrap());
        match operation {
            Operation::OpenVault => {}
            Operation::Sign | Operation::SignAnew | Operation::Return => self.sign()?,
            Operation::OpenKey => {
                let key = block_on(signing.open(self.keys.signing.uri()))?;
                if key.public() != self.keys.signing.public() {
                    wrong("another key");
                }
                if key != self.keys.signing {
                    return Ok("ok, with another id");
                }
            }
            Operation::Agree => {
                let agreer = Agreer::bind(Arc::clone(&vault), self.keys.agreement.clone())?;
                if !block_on(agreer.agree(&self.keys.peer))?.same_as(&self.keys.agreed) {
                    return Ok("another secret");
                }
            }
            Operation::Seal => {
                let sealer = Sealer::bind(Arc::clone(&vault), self.keys.sealing.clone())?;
                self.sealed = Some(block_on(sealer.seal(MESSAGE, b"a"))?);
            }
            Operation::Unseal => {
                if self.unseal(&self.keys.sealed)?.expose() != MESSAGE {
                    return Ok("another text");
                }
            }
            Operation::Generate => {
                let key = block_on(signing.generate(&KeySpec::p256(self.new_name())))?;
                let signer = Signer::bind(Arc::clone(&vault), key)?;
                // With the script over: a key that was reported is there.
                self.chaos.clear();
                block_on(signer.sign(MESSAGE)).expect("a key that was reported signs");
            }
            Operation::GenerateSecret => {
                let key = block_on(sealing.generate(&KeySpec::aes256_gcm(self.new_name())))?;
                self.chaos.clear();
                block_on(sealing.seal(&key, MESSAGE, b"")).expect("a key that was reported seals");
            }
            Operation::Destroy => {
                let uri = KeyUri::of_key(vault.scheme(), &self.new_name());
                let key = block_on(signing.open(&uri))?;
                block_on(signing.destroy(key))?;
                self.chaos.clear();
                let error = block_on(signing.open(&uri)).expect_err("a key that was destroyed is gone");
                assert_eq!(error.kind(), Kind::NotFound, "{error}");
            }
            Operation::List => {
                let listed = block_on(vault.listing().unwrap().list())?;
                let names: Vec<_> = listed.iter().map(|info| info.name.as_str()).collect();
                let all = ["agreement", "other-sealing", "other-signing", "sealing", "signing"];
                if names.iter().any(|name| !all.contains(name)) {
                    return Ok("other names");
                }
                if names != all {
                    return Ok("ok, with less");
                }
            }
            Operation::Inventory => drop(block_on(vault.inventory())?),
        }
        Ok("ok")
    }

    /// Waits until everything works again, which may need the vault to be opened anew. Says whether it did.
    pub(crate) fn recover(
        &mut self,
        operation: Operation,
        patience: Duration,
    ) -> std::result::Result<bool, Error> {
        let start = Instant::now();
        let mut opened = false;
        loop {
            let works = if self.vault.is_none() { self.reopen() } else { self.sign() };
            match works {
                Ok(()) => break,
                Err(error) if start.elapsed() > patience => return Err(error),
                // A PIN that was refused is given again when somebody opens the vault, and not before.
                Err(error) if error.kind() == Kind::Denied && !opened => {
                    opened = true;
                    self.vault = None;
                }
                Err(_) => sleep(Duration::from_millis(10)),
            }
        }
        if let Some(sealed) = self.sealed.take()
            && self.unseal(&sealed)?.expose() != MESSAGE
        {
            wrong("what was sealed is another text");
        }
        match operation {
            Operation::Generate | Operation::Destroy => {
                let vault = self.vault();
                block_on(vault::Custody::<Signing>::discard(vault.signing().unwrap(), &self.new_name()))?;
            }
            Operation::GenerateSecret => {
                let facet: &dyn SealingFacet = self.vault().sealing().unwrap();
                block_on(vault::Custody::<Sealing>::discard(facet, &self.new_name()))?;
            }
            _ => {}
        }
        Ok(opened)
    }
}
