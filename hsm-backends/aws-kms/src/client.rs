//! The clients of the SDK: how they connect, whom they trust, where credentials come from, what is tried again by itself.
//!
//! **Trust.** rustls with ring, as everywhere here. The CAs are the system's, or those of the file that `AWS_CA_BUNDLE` names
//! and no others, as with every tool of AWS.
//!
//! **Credentials** come from the standard chain of AWS alone: variables, profile files (with roles that are assumed, and
//! `credential_process`), web identity, the container's and the instance's own. A vault whose URI names a profile has those of
//! that profile only. Single sign-on and `aws login` are left out: each needs
//! another SDK, and both are for people at a terminal, who can hand over what they got through `credential_process`.
//!
//! **Again.** What changes nothing, and what is recognised when it comes twice, the SDK sends up to [`ATTEMPTS`] times, with
//! jittered pauses and a budget of its own for each vault; a refusal that no repetition cures it does not repeat. Creating a
//! key is neither: [`once`] is for that.

use std::path::Path;
use std::time::Duration;

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region};
use aws_sdk_kms::config::{Builder, SharedHttpClient};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime::client::retries::RetryPartition;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use vault::{Error, Kind, Result};

use crate::address::Address;

/// How often one call is sent at most.
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The largest file of CAs that is read.
const MAX_BUNDLE: u64 = 4 * 1024 * 1024;

/// The SDK's clients for one vault.
#[derive(Clone, Debug)]
pub(crate) struct Kms {
    pub(crate) address: Address,
    pub(crate) kms: aws_sdk_kms::Client,
    /// What finds keys by their tags.
    pub(crate) tagging: aws_sdk_resourcegroupstagging::Client,
}

impl Kms {
    /// Makes the clients. Nothing is sent, and credentials are not looked for yet.
    ///
    /// # Errors
    /// [`Kind::Invalid`] when `AWS_CA_BUNDLE` names no file of certificates.
    pub(crate) async fn new(address: Address, deadline: Duration) -> Result<Self> {
        let retry = RetryConfig::standard()
            .with_max_attempts(ATTEMPTS)
            .with_initial_backoff(FIRST_PAUSE)
            .with_max_backoff(LONGEST_PAUSE);
        // An attempt that hangs leaves time for another one.
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(deadline / 4)
            .operation_attempt_timeout(deadline / 3)
            .operation_timeout(deadline)
            .build();
        let (http, region) = (http_client()?, Region::new(address.region.clone()));
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http.clone())
            .region(region.clone())
            .retry_config(retry)
            .timeout_config(timeouts);
        // The name is of letters and dashes, which the type takes.
        if let Ok(app) = AppName::new("ockam-kms") {
            loader = loader.app_name(app);
        }
        if let Some(profile) = &address.profile {
            // That profile and no variables: whoever names it means it.
            let by = ProviderConfig::without_region().with_http_client(http).with_region(Some(region));
            let credentials = ProfileFileCredentialsProvider::builder().configure(&by).profile_name(profile);
            loader = loader.profile_name(profile).credentials_provider(credentials.build());
        }
        let shared = loader.load().await;
        // A budget of its own: an endpoint that is down must not use up the retries of other vaults.
        let budget = || RetryPartition::new(format!("ockam-kms {:?}", (&address.region, &address.endpoint)));
        let mut kms = Builder::from(&shared).retry_partition(budget());
        let mut tagging =
            aws_sdk_resourcegroupstagging::config::Builder::from(&shared).retry_partition(budget());
        if let Some(endpoint) = &address.endpoint {
            kms = kms.endpoint_url(endpoint);
            tagging = tagging.endpoint_url(endpoint);
        }
        Ok(Self {
            kms: aws_sdk_kms::Client::from_conf(kms.build()),
            tagging: aws_sdk_resourcegroupstagging::Client::from_conf(tagging.build()),
            address,
        })
    }
}

/// The configuration of a call that is sent once.
pub(crate) fn once() -> Builder {
    aws_sdk_kms::Config::builder().retry_config(RetryConfig::disabled())
}

fn http_client() -> Result<SharedHttpClient> {
    let trust = match std::env::var_os("AWS_CA_BUNDLE") {
        Some(path) if !path.is_empty() => TrustStore::empty().with_pem_certificate(bundle(Path::new(&path))?),
        _ => TrustStore::default(),
    };
    let context = TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .map_err(|e| Error::new(Kind::Backend, "TLS cannot be set up").with_source(e))?;
    Ok(aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(context)
        .build_https())
}

/// The file of CAs, checked: the client panics about what it cannot read.
fn bundle(path: &Path) -> Result<Vec<u8>> {
    let bad = |why: &str| {
        Error::new(Kind::Invalid, format!("`{}` {why}", path.display()))
            .with_hint("let `AWS_CA_BUNDLE` name a file of CA certificates in PEM, or unset it")
    };
    let pem = vault::durable::read(path, MAX_BUNDLE).map_err(|e| bad("cannot be read").with_source(e))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|e| bad("is not PEM").with_source(e))?;
        roots.add(certificate).map_err(|e| bad("has a certificate that is none").with_source(e))?;
    }
    if roots.is_empty() { Err(bad("has no certificate")) } else { Ok(pem) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_read_before_it_is_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        assert_eq!(bundle(&path).unwrap_err().kind(), Kind::Invalid);
        for text in [
            "",
            "no PEM at all",
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            write(text);
            assert_eq!(bundle(&path).unwrap_err().kind(), Kind::Invalid, "{text}");
        }
        let ca = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap().cert.pem();
        write(&format!("{ca}{ca}"));
        assert_eq!(bundle(&path).unwrap(), format!("{ca}{ca}").into_bytes());
    }
}
