//! `key …`

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a key
    #[command(after_help = "Example:\n  ockam-kms key generate build --vault hsm --key-type p256")]
    Generate(Generate),
    /// List the keys of a vault
    #[command(after_help = "Example:\n  ockam-kms key list --vault hsm")]
    List(List),
    /// Show a key
    #[command(after_help = "Example:\n  ockam-kms key show build --vault hsm --output json")]
    Show(Which),
    /// Sign a message
    #[command(after_help = "Examples:
  ockam-kms key sign build 'release 1.0' --vault hsm
  ockam-kms key sign build --file artefact.tar --vault hsm")]
    Sign(Sign),
    /// Check a signature; exit code 65 when it does not hold
    #[command(after_help = "Examples:
  ockam-kms key verify build 'release 1.0' --vault hsm --signature 3045
  ockam-kms key verify 'release 1.0' --public-key 04aa --key-type p256 --signature 3045")]
    Verify(Verify),
    /// Have the device say where a key lives and whether it can leave, and keep what it says
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "Examples:
  ockam-kms key attest build --vault hsm > build.attestation
  ockam-kms key attest verify build.attestation --ca devices.pem"
    )]
    Attest(Attest),
    /// Destroy a key for good
    #[command(after_help = "Example:\n  ockam-kms key destroy build --vault hsm --yes")]
    Destroy(Destroy),
    /// Take the destruction of a key back, where it is only scheduled (AWS KMS)
    #[command(after_help = "Examples:
  ockam-kms key restore build --vault cloud
  ockam-kms key restore awskms:key-id=1234abcd-12ab-34cd-56ef-1234567890ab --vault cloud")]
    Restore(Which),
}

#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// The name; a random one when none is given
    pub(crate) name: Option<String>,
    /// The vault; the default one when none is given
    #[arg(long, value_name = "NAME")]
    pub(crate) vault: Option<String>,
    /// ed25519, p256, x25519 or aes256-gcm; by default the first signing key type that the vault has
    #[arg(long, value_name = "TYPE")]
    pub(crate) key_type: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// The vault; the default one when none is given
    #[arg(long, value_name = "NAME")]
    pub(crate) vault: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The name of the key, or its URI
    pub(crate) key: String,
    /// The vault; the default one when none is given
    #[arg(long, value_name = "NAME")]
    pub(crate) vault: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Message {
    /// The message, as hex
    #[arg(long, value_name = "HEX", conflicts_with = "file")]
    pub(crate) message_hex: Option<String>,
    /// The file that holds the message; `-` is standard input
    #[arg(long, value_name = "PATH|-", allow_hyphen_values = true)]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Sign {
    #[command(flatten)]
    pub(crate) which: Which,
    /// The message
    #[arg(allow_hyphen_values = true, required_unless_present_any = ["message_hex", "file"], conflicts_with_all = ["message_hex", "file"])]
    pub(crate) message: Option<String>,
    #[command(flatten)]
    pub(crate) from: Message,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The name of the key or its URI; with --public-key, the message
    #[arg(allow_hyphen_values = true)]
    pub(crate) key: Option<String>,
    /// The message
    #[arg(allow_hyphen_values = true)]
    pub(crate) message: Option<String>,
    /// The vault; the default one when none is given
    #[arg(long, value_name = "NAME")]
    pub(crate) vault: Option<String>,
    /// The public key as hex, instead of a key in a vault
    #[arg(long, value_name = "HEX", requires = "key_type")]
    pub(crate) public_key: Option<String>,
    /// The type of the public key: ed25519 or p256
    #[arg(long, value_name = "TYPE", requires = "public_key")]
    pub(crate) key_type: Option<String>,
    /// The signature, as hex
    #[arg(long, value_name = "HEX")]
    pub(crate) signature: String,
    #[command(flatten)]
    pub(crate) from: Message,
}

#[derive(Debug, Args)]
pub(crate) struct Attest {
    /// The name of the key, or its URI
    #[arg(required = true)]
    pub(crate) key: Option<String>,
    /// The vault; the default one when none is given
    #[arg(long, value_name = "NAME")]
    pub(crate) vault: Option<String>,
    #[command(subcommand)]
    pub(crate) verb: Option<AttestVerb>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AttestVerb {
    /// Judge what a device said of a key, without the device; exit code 65 when it does not hold
    #[command(after_help = "Examples:
  ockam-kms key attest verify build.attestation --ca devices.pem
  ockam-kms key attest build --vault hsm | ockam-kms key attest verify - --output json")]
    Verify(VerifyAttestation),
}

#[derive(Debug, Args)]
pub(crate) struct VerifyAttestation {
    /// What `key attest` printed: as hex, a file that holds it, or `-` for standard input
    #[arg(value_name = "HEX|PATH|-", allow_hyphen_values = true)]
    pub(crate) attestation: String,
    /// Certificates, as PEM, of those who certify devices; without them nothing that a device signed holds
    #[arg(long, value_name = "PATH")]
    pub(crate) ca: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Destroy {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Say what would be destroyed and what depends on it, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}
