//! What is watched.

use std::hint::black_box;
use std::sync::Arc;

use crabgrind::memcheck::{MemState, mark_memory};
use vault::soft::{Lock, SoftVault, danger};
use vault::{
    AgreementKey, Agreer, Algorithm, Ask, Interact, KeyName, KeyUri, Sealer, SecretBytes, Signer, Vault,
    block_on,
};

/// Something that is done with a secret.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: fn(),
    /// Whether it gives the secret away on purpose.
    pub(crate) leaks: bool,
    /// Whether it takes minutes.
    pub(crate) slow: bool,
}

const fn case(name: &'static str, run: fn()) -> Case {
    Case { name, run, leaks: false, slow: false }
}

const fn control(name: &'static str, run: fn()) -> Case {
    Case { name, run, leaks: true, slow: false }
}

pub(crate) const CASES: &[Case] = &[
    case("sign, Ed25519", || sign(Algorithm::Ed25519)),
    case("sign, P-256", || sign(Algorithm::EcdsaP256)),
    case("agree, X25519", || agree(&x25519_peer())),
    case("agree, P-256", || agree(&p256_peer())),
    case("seal and unseal", unseal),
    case("unseal, a wrong tag", || unseal_altered(0)),
    case("unseal, a tag wrong in its last byte", || unseal_altered(15)),
    case("compare secrets, equal", || compare(31, 0)),
    case("compare secrets, other in the first byte", || compare(0, 1)),
    Case { name: "unlock by a wrong passphrase", run: unlock, leaks: false, slow: true },
    control("control: compare by ==", control_equal),
    control("control: a table of secrets", control_table),
    control("control: a tag compared by ==", control_tag),
];

/// From here on these bytes are secret.
fn hide(bytes: &mut [u8]) {
    mark(bytes, MemState::Undefined);
}

/// From here on these bytes are public.
fn publish(bytes: &[u8]) {
    mark(bytes, MemState::Defined);
}

fn mark(bytes: &[u8], state: MemState) {
    assert!(
        mark_memory(bytes.as_ptr().cast(), bytes.len(), state).is_ok(),
        "run it without arguments: it starts itself under valgrind"
    );
}

/// Secret bytes, in a way that the compiler cannot see through.
fn secret() -> Vec<u8> {
    let mut bytes: Vec<u8> = black_box((1..=32).collect());
    hide(&mut bytes);
    bytes
}

fn vault_with(algorithm: Algorithm) -> (Arc<dyn Vault>, KeyUri) {
    let vault = SoftVault::in_memory().expect("randomness");
    let name = KeyName::new("k").expect("a name");
    let uri = danger::import(&vault, &name, algorithm, SecretBytes::new(secret())).expect("a key");
    (Arc::new(vault), uri)
}

fn sign(algorithm: Algorithm) {
    let (vault, uri) = vault_with(algorithm);
    let handle = block_on(vault.signing().expect("it signs").open(&uri)).expect("the key");
    let key = Signer::bind(vault, handle).expect("it is bound");
    let signature = block_on(key.sign(b"a message")).expect("a signature");
    publish(signature.as_bytes());
    assert!(signature.as_bytes().iter().any(|byte| *byte != 0));
}

/// The base point of X25519.
fn x25519_peer() -> AgreementKey {
    let mut peer = [0; 32];
    peer[0] = 9;
    AgreementKey::X25519(peer)
}

/// The public half of a key of somebody else, whose secret nobody hides.
fn p256_peer() -> AgreementKey {
    let vault = SoftVault::in_memory().expect("randomness");
    let name = KeyName::new("peer").expect("a name");
    let secret = SecretBytes::new((101..=132).collect());
    let uri = danger::import(&vault, &name, Algorithm::EcdhP256, secret).expect("a key");
    block_on(vault.agreement().expect("it agrees").open(&uri)).expect("the key").public().clone()
}

fn agree(peer: &AgreementKey) {
    let (vault, uri) = vault_with(peer.algorithm());
    let handle = block_on(vault.agreement().expect("it agrees").open(&uri)).expect("the key");
    let key = Agreer::bind(vault, handle).expect("it is bound");
    let shared = block_on(key.agree(peer)).expect("a secret");
    black_box(shared.len());
}

fn sealer() -> Sealer {
    let (vault, uri) = vault_with(Algorithm::Aes256Gcm);
    let handle = block_on(vault.sealing().expect("it seals").open(&uri)).expect("the key");
    Sealer::bind(vault, handle).expect("it is bound")
}

fn unseal() {
    let key = sealer();
    let sealed = block_on(key.seal(&secret(), b"of")).expect("it is sealed");
    publish(&sealed);
    let plain = block_on(key.unseal(&sealed, b"of")).expect("it is unsealed");
    black_box(plain.len());
}

fn unseal_altered(place: usize) {
    let key = sealer();
    let mut sealed = block_on(key.seal(&secret(), b"of")).expect("it is sealed");
    publish(&sealed);
    let tag = sealed.len() - 16;
    sealed[tag + place] ^= 1;
    assert!(block_on(key.unseal(&sealed, b"of")).is_err());
}

fn compare(place: usize, difference: u8) {
    let mut other = secret();
    other[place] ^= difference;
    let same = SecretBytes::new(secret()).same_as(&SecretBytes::new(other));
    publish_and_use(same);
}

/// The outcome of a comparison is public.
fn publish_and_use(outcome: bool) {
    let outcome = [u8::from(outcome)];
    publish(&outcome);
    black_box(outcome);
}

/// Says a passphrase whose bytes are secret; its length is not.
#[derive(Debug)]
struct Says(&'static str);

impl Interact for Says {
    fn secret(&self, _: &Ask) -> vault::Result<SecretBytes> {
        let mut bytes = black_box(self.0.as_bytes().to_vec());
        hide(&mut bytes);
        Ok(SecretBytes::new(bytes))
    }
}

fn unlock() {
    let directory = std::env::temp_dir().join(format!("constant-time-{}", std::process::id()));
    let lock = Lock::Passphrase(SecretBytes::new(b"a passphrase".to_vec()));
    SoftVault::create(&directory, &lock).expect("a vault");
    let opened = SoftVault::open(&directory, &Says("another one"));
    std::fs::remove_dir_all(&directory).expect("it goes away");
    assert!(opened.is_err());
}

fn control_equal() {
    let (one, other) = (secret(), secret());
    black_box(black_box(&one) == black_box(&other));
}

fn control_table() {
    let table: Vec<u8> = black_box((0..=255).collect());
    let one = secret();
    black_box(table[usize::from(one[3])]);
}

/// As if the tag were checked as any other bytes.
fn control_tag() {
    let key = sealer();
    let sealed = block_on(key.seal(&secret(), b"of")).expect("it is sealed");
    let tag = black_box(&sealed[sealed.len() - 16..]);
    black_box(tag == black_box(&[0; 16][..]));
}
