//! The doors by which known keys come into the vaults.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::MechanismType;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use ockam_kms_tests::awskms::Emulator;
use ockam_kms_tests::piv::PivCard;
use ockam_kms_tests::softhsm::{MODULE, PIN, SoftHsm};
use ockam_kms_tests::swtpm::Swtpm;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use vault::soft::SoftVault;
use vault::{
    Agreement, Algorithm, Backend, Custody, KeyHandle, KeyName, KeySpec, KeyUri, Nobody, SecretBytes,
    Signing, Vault, block_on,
};

/// A key as a vector has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Known {
    pub(crate) secret: Vec<u8>,
    /// Its public half, if it has one.
    pub(crate) public: Vec<u8>,
}

/// A vault with a door for known keys.
pub(crate) trait Door {
    fn vault(&self) -> &Arc<dyn Vault>;

    /// How many come in at once.
    fn room(&self, _: Algorithm) -> usize {
        1
    }

    /// Puts keys in, no more than there is room for. What was there before may go.
    fn import(&self, algorithm: Algorithm, keys: &[Known]) -> Vec<KeyUri>;
}

fn name(number: usize) -> KeyName {
    KeyName::new(&format!("k{number}")).unwrap()
}

/// Counts.
fn next(count: &Cell<usize>) -> usize {
    count.set(count.get() + 1);
    count.get()
}

pub(crate) struct Soft {
    soft: Arc<SoftVault>,
    vault: Arc<dyn Vault>,
    count: Cell<usize>,
}

impl Soft {
    pub(crate) fn new() -> Self {
        let soft = Arc::new(SoftVault::in_memory().unwrap());
        Self { vault: Arc::clone(&soft) as Arc<dyn Vault>, soft, count: Cell::default() }
    }
}

impl Door for Soft {
    fn vault(&self) -> &Arc<dyn Vault> {
        &self.vault
    }

    fn import(&self, algorithm: Algorithm, keys: &[Known]) -> Vec<KeyUri> {
        let one = |known: &Known| {
            let secret = SecretBytes::new(known.secret.clone());
            vault::soft::danger::import(&self.soft, &name(next(&self.count)), algorithm, secret).unwrap()
        };
        keys.iter().map(one).collect()
    }
}

/// A token, with the raw library beside the vault.
pub(crate) struct Token {
    session: Session,
    vault: Arc<dyn Vault>,
    count: Cell<usize>,
    last: Cell<Vec<ObjectHandle>>,
}

impl Token {
    pub(crate) fn new(hsm: &SoftHsm) -> Self {
        let uri = hsm.init("t");
        let backend = pkcs11::danger::backend_that_takes_imported_keys();
        let vault = block_on(backend.open(&uri, Arc::new(Nobody))).unwrap();
        let context = Pkcs11::new(MODULE).unwrap();
        context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap_err();
        let slot = context.get_slots_with_initialized_token().unwrap()[0];
        let session = context.open_rw_session(slot).unwrap();
        let _ = session.login(UserType::User, Some(&AuthPin::new(PIN.into())));
        Self { session, vault, count: Cell::default(), last: Cell::default() }
    }
}

impl Token {
    fn put(&self, algorithm: Algorithm, Known { secret, public }: &Known) -> KeyUri {
        for object in self.last.take() {
            self.session.destroy_object(object).unwrap();
        }
        let label = name(next(&self.count)).to_string();
        let p256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
        let (kind, curve, mechanism): (_, &[u8], _) = match algorithm {
            Algorithm::Ed25519 => (KeyType::EC_EDWARDS, b"\x06\x03\x2b\x65\x70", MechanismType::EDDSA),
            Algorithm::X25519 => (KeyType::EC_EDWARDS, b"\x06\x03\x2b\x65\x6e", MechanismType::ECDH1_DERIVE),
            Algorithm::EcdhP256 => (KeyType::EC, p256, MechanismType::ECDH1_DERIVE),
            _ => (KeyType::AES, b"", MechanismType::AES_GCM),
        };
        let seals = algorithm == Algorithm::Aes256Gcm;
        let mut made = Vec::new();
        let mut template = vec![
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Modifiable(false),
            Attribute::Copyable(false),
            Attribute::WrapWithTrusted(true),
            Attribute::Label(label.clone().into_bytes()),
            Attribute::Id(label.clone().into_bytes()),
            Attribute::AllowedMechanisms(vec![mechanism]),
            Attribute::Value(secret.to_vec()),
            Attribute::Decrypt(seals),
            Attribute::Unwrap(false),
            Attribute::Sign(algorithm == Algorithm::Ed25519),
            Attribute::Derive(mechanism == MechanismType::ECDH1_DERIVE),
            Attribute::KeyType(kind),
        ];
        if seals {
            template.extend([
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::Encrypt(true),
                Attribute::Wrap(false),
                Attribute::Verify(false),
            ]);
        } else {
            template.extend([
                Attribute::Class(ObjectClass::PRIVATE_KEY),
                Attribute::EcParams(curve.to_vec()),
                Attribute::SignRecover(false),
            ]);
            let other_half = [
                Attribute::Class(ObjectClass::PUBLIC_KEY),
                Attribute::KeyType(kind),
                Attribute::Token(true),
                Attribute::EcParams(curve.to_vec()),
                Attribute::EcPoint([&[0x04, u8::try_from(public.len()).unwrap()], &**public].concat()),
                Attribute::Label(label.clone().into_bytes()),
                Attribute::Id(label.clone().into_bytes()),
            ];
            made.push(self.session.create_object(&other_half).unwrap());
        }
        made.push(self.session.create_object(&template).unwrap());
        self.last.set(made);
        format!("pkcs11:object={label}").parse().unwrap()
    }
}

impl Door for Token {
    fn vault(&self) -> &Arc<dyn Vault> {
        &self.vault
    }

    fn import(&self, algorithm: Algorithm, keys: &[Known]) -> Vec<KeyUri> {
        keys.iter().map(|known| self.put(algorithm, known)).collect()
    }
}

/// A TPM, by TPM2_Import and TPM2_Create.
pub(crate) struct Tpm {
    uri: KeyUri,
    vault: Arc<dyn Vault>,
    count: Cell<usize>,
}

impl Tpm {
    pub(crate) fn new(tpm: &Swtpm) -> Self {
        let uri = tpm.uri("v");
        let backend = ::tpm::danger::backend_that_takes_imported_keys();
        let vault = block_on(backend.create(&uri, Arc::new(Nobody))).unwrap();
        Self { uri, vault, count: Cell::default() }
    }
}

impl Door for Tpm {
    fn vault(&self) -> &Arc<dyn Vault> {
        &self.vault
    }

    fn import(&self, algorithm: Algorithm, keys: &[Known]) -> Vec<KeyUri> {
        let one = |Known { secret, public }: &Known| {
            let (name, secret) = (name(next(&self.count)), SecretBytes::new(secret.clone()));
            ::tpm::danger::import(&self.uri, &name, algorithm, &secret, public).unwrap()
        };
        keys.iter().map(one).collect()
    }
}

/// A virtual card: its keys are changed in its memory while it is out, and the list of them on it accordingly.
pub(crate) struct Card<'a> {
    card: &'a PivCard,
    vault: Arc<dyn Vault>,
    made: RefCell<Vec<(Algorithm, KeyUri, Vec<u8>)>>,
}

impl<'a> Card<'a> {
    pub(crate) fn new(card: &'a PivCard) -> Self {
        let backend = yubikey_vault::YubiKeyBackend::new();
        let vault = block_on(backend.open(&card.uri(), Arc::new(Nobody))).unwrap();
        Self { card, vault, made: RefCell::default() }
    }

    /// A key of the card's own making, which another is to stand in for.
    fn make(&self, algorithm: Algorithm) {
        let mut made = self.made.borrow_mut();
        let name = name(made.len());
        let (uri, public) = match algorithm {
            Algorithm::Ed25519 => {
                let spec = KeySpec::<Signing>::new(name, algorithm).unwrap();
                let key = block_on(self.vault.signing().unwrap().generate(&spec)).unwrap();
                (key.uri().clone(), key.public().as_bytes().to_vec())
            }
            _ => {
                let key = agrees(&self.vault, name, algorithm);
                (key.uri().clone(), key.public().as_bytes().to_vec())
            }
        };
        made.push((algorithm, uri, public));
    }
}

/// How the list on the card tells keys apart (docs/formats.md).
fn fingerprint(public: &[u8]) -> Vec<u8> {
    Sha256::digest(public)[..16].to_vec()
}

impl Door for Card<'_> {
    fn vault(&self) -> &Arc<dyn Vault> {
        &self.vault
    }

    fn room(&self, algorithm: Algorithm) -> usize {
        match algorithm {
            Algorithm::X25519 => 16,
            Algorithm::EcdhP256 => 4,
            _ => 1,
        }
    }

    fn import(&self, algorithm: Algorithm, keys: &[Known]) -> Vec<KeyUri> {
        let have = |algorithm| self.made.borrow().iter().filter(|(of, ..)| *of == algorithm).count();
        while have(algorithm) < keys.len() {
            self.make(algorithm);
        }
        let mut memory = self.card.memory();
        let mut made = self.made.borrow_mut();
        let places = made.iter_mut().filter(|(of, ..)| *of == algorithm);
        let mut uris = Vec::new();
        for ((_, uri, public), known) in places.zip(keys) {
            let slot = u8::from_str_radix(uri.require("slot").unwrap(), 16).unwrap();
            memory["slots"][slot.to_string()]["secret"] = json!(known.secret);
            let (old, new) = (fingerprint(public), fingerprint(&known.public));
            for object in memory["objects"].as_object_mut().unwrap().values_mut() {
                let mut bytes: Vec<u8> = serde_json::from_value(object.take()).unwrap();
                if let Some(place) = bytes.windows(old.len()).position(|window| window == old) {
                    bytes[place..][..new.len()].copy_from_slice(&new);
                }
                *object = json!(bytes);
            }
            public.clone_from(&known.public);
            uris.push(uri.clone());
        }
        self.card.tamper("", memory);
        uris
    }
}

/// KMS: the emulator puts another key behind an id.
pub(crate) struct Cloud<'a> {
    kms: &'a Emulator,
    vault: Arc<dyn Vault>,
    signs: KeyHandle<Signing>,
    agrees: KeyHandle<Agreement>,
}

impl<'a> Cloud<'a> {
    pub(crate) fn new(kms: &'a Emulator) -> Self {
        let vault = block_on(aws_kms::AwsKmsBackend::new().open(&kms.uri(), Arc::new(Nobody))).unwrap();
        let spec = KeySpec::<Signing>::new(name(0), Algorithm::Ed25519).unwrap();
        let signs = block_on(vault.signing().unwrap().generate(&spec)).unwrap();
        let agrees = agrees(&vault, name(1), Algorithm::EcdhP256);
        Self { kms, vault, signs, agrees }
    }
}

impl Door for Cloud<'_> {
    fn vault(&self) -> &Arc<dyn Vault> {
        &self.vault
    }

    fn import(&self, algorithm: Algorithm, keys: &[Known]) -> Vec<KeyUri> {
        let id = if algorithm == Algorithm::Ed25519 { self.signs.id() } else { self.agrees.id() };
        let one = |known: &Known| {
            self.kms.order(&json!({ "do": "secret", "id": id, "secret": hex::encode(&known.secret) }));
            format!("awskms:key-id={id}").parse().unwrap()
        };
        keys.iter().map(one).collect()
    }
}

fn agrees(vault: &Arc<dyn Vault>, name: KeyName, algorithm: Algorithm) -> KeyHandle<Agreement> {
    let spec = KeySpec::<Agreement>::new(name, algorithm).unwrap();
    block_on(Custody::<Agreement>::generate(vault.agreement().unwrap(), &spec)).unwrap()
}
