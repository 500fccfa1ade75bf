//! AWS KMS through our vault, and through the SDK as it is.

use std::sync::Arc;

use aws_config::{BehaviorVersion, Region};
use aws_kms::AwsKmsBackend;
use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeySpec as SdkSpec, KeyUsageType, MessageType, SigningAlgorithmSpec};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use fixtures::awskms::{Emulator, REGION};
use sha2::{Digest as _, Sha256};
use tokio::runtime::{Builder, Runtime};
use vault::block_on;

use crate::{Result, signer, turns};

pub(crate) fn beside_the_raw_library(cloud: &Emulator) -> Result<()> {
    let ours = signer(AwsKmsBackend::new(), &cloud.uri(), "ours")?;
    let vault = Arc::clone(ours.vault());
    let facet = vault.signing().ok_or("the vault does not sign")?;
    let raw = Raw::new(&cloud.endpoint())?;
    turns::print(
        "sign, P-256, by AWS KMS",
        &mut [
            (
                "aws-kms: SigningFacet::sign",
                Box::new(|| Ok(block_on(facet.sign(ours.handle(), b"message")).map(drop)?)),
            ),
            (
                "vault: Signer::sign, which verifies",
                Box::new(|| Ok(block_on(ours.sign(b"message")).map(drop)?)),
            ),
            ("aws-sdk-kms: Sign", Box::new(|| raw.sign())),
        ],
    )
}

struct Raw {
    runtime: Runtime,
    client: Client,
    key: String,
}

impl Raw {
    fn new(endpoint: &str) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let config = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(endpoint)
            .http_client(http);
        let client = Client::new(&runtime.block_on(config.load()));
        let made =
            client.create_key().key_spec(SdkSpec::EccNistP256).key_usage(KeyUsageType::SignVerify).send();
        let made = runtime.block_on(made)?;
        let key = made.key_metadata().map(|key| key.key_id().to_owned()).ok_or("no key was made")?;
        Ok(Self { runtime, client, key })
    }

    fn sign(&self) -> Result<()> {
        let digest = Blob::new(Sha256::digest(b"message").to_vec());
        let sign = self.client.sign().key_id(&self.key).message(digest).message_type(MessageType::Digest);
        let signed = sign.signing_algorithm(SigningAlgorithmSpec::EcdsaSha256).send();
        self.runtime.block_on(signed)?;
        Ok(())
    }
}
