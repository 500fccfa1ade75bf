//! TLS: the certificate that a server shows and its private key, read from files, and read again when it is told to.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use crate::error::{Error, Kind, Result};

/// The most bytes of a certificate's or key's file: a long chain fits many times.
const MAX_FILE: u64 = 256 * 1024;

/// A certificate with its private key, in two PEM files. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    certificate: PathBuf,
    key: PathBuf,
    config: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads a certificate (with those between it and its root, if there are any) and its private key. The server speaks TLS
    /// 1.3 and 1.2.
    ///
    /// # Errors
    /// [`Kind::Denied`] for a key that others than its owner can read or write; [`Kind::Invalid`] for files that cannot be
    /// read, or do not fit together.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self> {
        let config = RwLock::new(Arc::new(read(certificate, key)?));
        Ok(Self(Arc::new(Inner { certificate: certificate.to_owned(), key: key.to_owned(), config })))
    }

    /// Reads the files again. Connections that stand keep the certificate that they began with; when the files are no good,
    /// new ones keep the old certificate as well.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn reload(&self) -> Result<()> {
        let config = Arc::new(read(&self.0.certificate, &self.0.key)?);
        *self.0.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.config.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("certificate", &self.0.certificate).finish_non_exhaustive()
    }
}

fn read(certificate: &Path, key: &Path) -> Result<ServerConfig> {
    let invalid =
        |path: &Path, words: &str| Error::new(Kind::Invalid, format!("`{}` {words}", path.display()));
    let pem = file(certificate, false)?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| invalid(certificate, "is damaged: its certificates cannot be read").with_source(e))?;
    if chain.is_empty() {
        return Err(invalid(certificate, "holds no certificate")
            .with_hint("give the server's certificate as PEM, and after it those up to its root"));
    }
    let pem = file(key, true)?;
    let private = PrivateKeyDer::from_pem_slice(&pem).map_err(|e| {
        invalid(key, "holds no private key that can be read")
            .with_hint("give the key as PEM: PKCS#8, SEC 1 or PKCS#1, without a passphrase")
            .with_source(e)
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|e| Error::new(Kind::Internal, "TLS cannot be set up").with_source(e))?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, private).map_err(|e| {
        invalid(certificate, &format!("and the key `{}` do not fit together: {e}", key.display()))
            .with_hint("the first certificate has to be the one of this key")
            .with_source(e)
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn file(path: &Path, secret: bool) -> Result<Zeroizing<Vec<u8>>> {
    let failed = |e: std::io::Error| {
        Error::new(Kind::Invalid, format!("`{}` cannot be read: {e}", path.display()))
            .with_hint("check the path, and that this user may read it")
            .with_source(e)
    };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if secret && metadata.permissions().mode() & 0o077 != 0 {
        return Err(Error::new(
            Kind::Denied,
            format!("others than its owner may read or write the private key `{}`", path.display()),
        )
        .with_hint(format!("`chmod 600 {}`, and give it to the user that runs the server", path.display())));
    }
    if metadata.len() > MAX_FILE {
        return Err(Error::new(
            Kind::Invalid,
            format!("`{}` is larger than {MAX_FILE} bytes: it is no certificate or key", path.display()),
        ));
    }
    // At its full size from the start: a buffer that grows leaves what it held behind.
    let mut bytes =
        Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default() + 1));
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;

    struct Files {
        dir: tempfile::TempDir,
    }

    impl Files {
        fn new() -> Self {
            let files = Self { dir: tempfile::tempdir().unwrap() };
            files.make("a");
            files
        }

        fn make(&self, name: &str) {
            let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
            self.put(&format!("{name}.crt"), &made.cert.pem(), 0o644);
            self.put(&format!("{name}.key"), &made.signing_key.serialize_pem(), 0o600);
        }

        fn put(&self, name: &str, text: &str, mode: u32) {
            std::fs::write(self.path(name), text).unwrap();
            std::fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn load(&self, certificate: &str, key: &str) -> Result<Tls> {
            Tls::load(&self.path(certificate), &self.path(key))
        }
    }

    #[test]
    fn a_key_is_its_owners_alone() {
        let files = Files::new();
        files.load("a.crt", "a.key").unwrap();
        for mode in [0o640, 0o604, 0o620, 0o644, 0o660] {
            std::fs::set_permissions(files.path("a.key"), Permissions::from_mode(mode)).unwrap();
            let error = files.load("a.crt", "a.key").unwrap_err();
            assert_eq!(error.kind(), Kind::Denied, "{mode:o}");
            assert!(error.hint().unwrap().contains("chmod 600"));
        }
        std::fs::set_permissions(files.path("a.key"), Permissions::from_mode(0o400)).unwrap();
        files.load("a.crt", "a.key").unwrap();
    }

    #[test]
    fn files_that_are_no_good_are_refused_and_leave_what_was_there() {
        let files = Files::new();
        files.make("b");
        files.put("empty", "", 0o600);
        files.put("huge", &"x".repeat(300_000), 0o600);
        for (certificate, key) in [
            ("a.crt", "b.key"),
            ("a.key", "a.key"),
            ("a.crt", "a.crt"),
            ("empty", "a.key"),
            ("a.crt", "empty"),
            ("huge", "a.key"),
            ("missing", "a.key"),
        ] {
            if certificate == "a.crt" && key == "a.crt" {
                std::fs::set_permissions(files.path(key), Permissions::from_mode(0o600)).unwrap();
            }
            let error = files.load(certificate, key).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{certificate} {key}: {error}");
        }
        let tls = files.load("a.crt", "a.key").unwrap();
        let before = Arc::clone(&tls.0.config.read().unwrap());
        std::fs::copy(files.path("b.crt"), files.path("a.crt")).unwrap();
        assert_eq!(tls.reload().unwrap_err().kind(), Kind::Invalid);
        assert!(Arc::ptr_eq(&before, &tls.0.config.read().unwrap()));
        std::fs::copy(files.path("b.key"), files.path("a.key")).unwrap();
        tls.reload().unwrap();
        assert!(!Arc::ptr_eq(&before, &tls.0.config.read().unwrap()));
    }
}
