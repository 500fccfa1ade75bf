//! Who vouches for TPMs: a maker, who certifies the endorsement key of each, and somebody who certifies attestation keys of
//! TPMs whose maker is known, once they have shown that they are there. All of it by OpenSSL and tpm2-tools, as
//! docs/backends/tpm.md says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a fixture that fails fails its test"
)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use sha2::{Digest as _, Sha256};

use crate::swtpm::Swtpm;

/// The template of the attestation key that a vault has its TPM derive.
pub const DERIVED: &str = "tpm2_createprimary -C e -g sha256 -G ecc256:ecdsa-sha256:null \
     -a fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign -c ak.ctx";

/// `fixedTPM`, `fixedParent`, `sensitiveDataOrigin`, `restricted` and `sign`, and not `decrypt` (TPM 2.0 Part 2, 8.3).
const WANTED: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 18;
const UNWANTED: u32 = 1 << 17;

/// A maker of TPMs and a certifier of attestation keys, with a root certificate of its own.
#[derive(Debug)]
pub struct TpmCa {
    directory: tempfile::TempDir,
}

impl Default for TpmCa {
    fn default() -> Self {
        Self::new()
    }
}

impl TpmCa {
    /// Both, with new keys.
    ///
    /// # Panics
    /// When OpenSSL fails.
    #[must_use]
    pub fn new() -> Self {
        let ca = Self { directory: tempfile::tempdir().unwrap() };
        for name in ["maker", "root"] {
            ca.openssl(&format!("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -days 3650 -keyout {name}.key -out {name}.pem"));
        }
        for name in ["certifier", "any"] {
            ca.openssl(&format!("req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"));
        }
        fs::write(
            ca.path("ca.ext"),
            "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign\n",
        )
        .unwrap();
        ca.openssl("x509 -req -in certifier.csr -CA root.pem -CAkey root.key -days 365 -extfile ca.ext -out certifier.pem");
        ca
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn openssl(&self, line: &str) -> String {
        let output = Command::new("openssl")
            .args(line.split_whitespace())
            .current_dir(self.directory.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Certifies a public key (PEM), for this use.
    fn issue(&self, public: &str, by: &str, usage: &str) -> String {
        fs::write(self.path("public.pem"), public).unwrap();
        fs::write(self.path("leaf.ext"), format!("basicConstraints=CA:FALSE\nextendedKeyUsage={usage}\n"))
            .unwrap();
        self.openssl(&format!("x509 -req -in any.csr -force_pubkey public.pem -CA {by}.pem -CAkey {by}.key -days 30 -extfile leaf.ext"))
    }

    /// The certificate that ends every chain, as PEM.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn root(&self) -> String {
        fs::read_to_string(self.path("root.pem")).unwrap()
    }

    /// As [`certify`](Self::certify), of somebody who believes anything.
    ///
    /// # Panics
    /// When the tools fail.
    #[must_use]
    pub fn certify_anyway(&self, tpm: &Swtpm) -> String {
        let key = fs::read_to_string(tpm.directory().join("ak.pem")).unwrap();
        [
            self.issue(&key, "certifier", "2.23.133.8.3"),
            fs::read_to_string(self.path("certifier.pem")).unwrap(),
        ]
        .concat()
    }

    /// In the factory: the endorsement key of a TPM, certified.
    ///
    /// # Panics
    /// When the tools fail.
    #[must_use]
    pub fn manufacture(&self, tpm: &Swtpm) -> String {
        tpm.tool("tpm2_createek -G ecc -c ek.ctx -u ek.pub");
        tpm.tool("tpm2_flushcontext -t");
        self.issue(&tpm.tool("tpm2_print -t TPM2B_PUBLIC -f pem ek.pub"), "maker", "2.23.133.8.1")
    }

    /// Certifies the attestation key in `ak.ctx` of the TPM's directory, with this use, and gives it its chain. Sees first that
    /// a TPM whose endorsement key the maker certified has it (TPM2_MakeCredential, TPM2_ActivateCredential), and that it
    /// signs nothing but what that TPM says.
    ///
    /// # Panics
    /// When that is not so.
    #[must_use]
    pub fn certify(&self, tpm: &Swtpm, endorsement: &str, usage: &str) -> String {
        fs::write(self.path("ek.crt"), endorsement).unwrap();
        self.openssl("verify -CAfile maker.pem ek.crt");
        let certified = self.openssl("x509 -in ek.crt -noout -pubkey");
        assert_eq!(
            certified,
            tpm.tool("tpm2_print -t TPM2B_PUBLIC -f pem ek.pub"),
            "another endorsement key"
        );
        tpm.tool("tpm2_readpublic -c ak.ctx -f pem -o ak.pem");
        tpm.tool("tpm2_readpublic -c ak.ctx -f tss -o ak.pub");
        tpm.tool("tpm2_flushcontext -t");
        // TPM2B_PUBLIC: a length, then type, name algorithm and attributes. The name is a hash of all of it.
        let area = fs::read(tpm.directory().join("ak.pub")).unwrap().split_off(2);
        let attributes = u32::from_be_bytes(area[4..8].try_into().unwrap());
        assert_eq!(attributes & (WANTED | UNWANTED), WANTED, "it would sign anything: {attributes:#x}");
        let name = hex::encode([&[0, 11][..], &Sha256::digest(&area)].concat());
        let secret = hex::encode(Sha256::digest(name.as_bytes()));
        fs::write(tpm.directory().join("secret"), &secret[..32]).unwrap();
        tpm.tool(&format!("tpm2_makecredential -T none -u ek.pub -s secret -n {name} -o credential"));
        tpm.tool("tpm2_startauthsession --policy-session -S session.ctx");
        tpm.tool("tpm2_policysecret -S session.ctx -c e");
        tpm.tool("tpm2_activatecredential -c ak.ctx -C ek.ctx -i credential -o shown -P session:session.ctx");
        tpm.tool("tpm2_flushcontext session.ctx");
        tpm.tool("tpm2_flushcontext -t");
        assert_eq!(fs::read_to_string(tpm.directory().join("shown")).unwrap(), secret[..32]);
        let key = fs::read_to_string(tpm.directory().join("ak.pem")).unwrap();
        [self.issue(&key, "certifier", usage), fs::read_to_string(self.path("certifier.pem")).unwrap()]
            .concat()
    }
}
