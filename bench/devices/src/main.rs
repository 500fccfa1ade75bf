//! `make bench-devices`, which builds a virtual card beside it: signing by a TPM and by AWS KMS through a vault,
//! beside the raw library in a loop on the same device, in turns; and 64 callers on each backend. Times are printed and judge
//! nothing.

mod callers;
mod kms;
mod tpm2;
mod turns;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use fixtures::awskms::Emulator;
use fixtures::piv::PivCard;
use fixtures::softhsm::SoftHsm;
use fixtures::swtpm::Swtpm;
use vault::soft::SoftVault;
use vault::{Backend, KeyName, KeySpec, KeyUri, Nobody, Signer, Vault, block_on};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What the fixtures call that which runs once more in a child process, where the devices are.
const NAME: &str = "devices";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-devices: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    // Each is found through variables of the process, so there are children within children, and the last one measures.
    let Some(hsm) = SoftHsm::enter(NAME) else { return Ok(()) };
    let Some(card) = PivCard::enter(NAME, &virtual_card()?, "5.7.1") else { return Ok(()) };
    let Some(cloud) = Emulator::enter(NAME) else { return Ok(()) };
    let tpm = Swtpm::start();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load {} at the start", load.split_whitespace().next().unwrap_or("unknown"));
    tpm2::beside_the_raw_library(&tpm)?;
    kms::beside_the_raw_library(&cloud)?;
    println!("{}", callers::head());
    callers::print("software, P-256", of(Arc::new(SoftVault::in_memory()?), "crowd")?)?;
    callers::print(
        "PKCS#11 (SoftHSM), P-256",
        signer(pkcs11::Pkcs11Backend::new(), &hsm.init(NAME), "crowd")?,
    )?;
    callers::print("TPM (swtpm), P-256", signer(tpm::TpmBackend::new(), &tpm.uri("crowd"), "crowd")?)?;
    callers::print(
        "YubiKey (virtual card, pcscd), P-256",
        signer(yubikey_vault::YubiKeyBackend::new(), &card.uri(), "crowd")?,
    )?;
    callers::print("AWS KMS (emulator), P-256", signer(aws_kms::AwsKmsBackend::new(), &cloud.uri(), "crowd")?)
}

/// Beside this program.
fn virtual_card() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("virtual-piv-card");
    let missing = "the virtual card is not built: `make bench-devices` builds it";
    if path.exists() { Ok(path) } else { Err(missing.into()) }
}

/// A new key of a vault.
fn signer(backend: impl Backend, uri: &KeyUri, name: &str) -> Result<Signer> {
    of(block_on(backend.create(uri, Arc::new(Nobody)))?, name)
}

fn of(vault: Arc<dyn Vault>, name: &str) -> Result<Signer> {
    let facet = vault.signing().ok_or("the vault does not sign")?;
    let key = block_on(facet.generate(&KeySpec::p256(KeyName::new(name)?)))?;
    Ok(Signer::bind(Arc::clone(&vault), key)?)
}
