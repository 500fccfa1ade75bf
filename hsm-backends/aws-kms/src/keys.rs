//! Finding keys and reading back what KMS says of them.
//!
//! A key is used only when it was made inside KMS, for one purpose that is ours, in this region alone. What KMS returns is
//! compared with what was asked for: another key's description, or a public key of another kind, is no answer.

use aws_sdk_kms::types::{KeyManagerType, KeyMetadata, KeySpec, KeyState, KeyUsageType, OriginType};
use vault::device::AGAIN;
use vault::{Algorithm, Error, KeyEvidence, KeyInfo, KeyUri, Kind, PurposeKind, Result, Retry};

use crate::address::{Target, Wanted, is_key_id};
use crate::client::Kms;
use crate::encoding;
use crate::errors::{Fault, Meaning};
use crate::operations::Named;

/// The most aliases that a listing goes through: what the other side returns has limits.
const MAX_ALIASES: usize = 100_000;

/// A key that was opened or made.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(crate) id: String,
    pub(crate) uri: KeyUri,
    pub(crate) algorithm: Algorithm,
    pub(crate) public: Option<Vec<u8>>,
}

impl Opened {
    pub(crate) fn into_info(self, name: String) -> KeyInfo {
        let Self { uri, algorithm, public, .. } = self;
        KeyInfo { name, uri, purpose: algorithm.purpose(), algorithm, public }
    }
}

/// The spec and usage with which a key of this algorithm is made, if KMS has such keys.
pub(crate) fn spec(algorithm: Algorithm) -> Option<(KeySpec, KeyUsageType)> {
    Some(match algorithm {
        Algorithm::EcdsaP256 => (KeySpec::EccNistP256, KeyUsageType::SignVerify),
        Algorithm::Ed25519 => (KeySpec::EccNistEdwards25519, KeyUsageType::SignVerify),
        Algorithm::EcdhP256 => (KeySpec::EccNistP256, KeyUsageType::KeyAgreement),
        Algorithm::Aes256Gcm => (KeySpec::SymmetricDefault, KeyUsageType::EncryptDecrypt),
        _ => return None,
    })
}

impl Kms {
    /// What KMS says of a key: by its id, or by an alias.
    pub(crate) async fn describe(&self, which: &str) -> std::result::Result<KeyMetadata, Fault> {
        let answer = self.kms.describe_key().key_id(which).send().await;
        let answer = answer.map_err(|e| Fault::of("DescribeKey", e))?;
        answer.key_metadata.ok_or_else(|| Fault::empty("DescribeKey"))
    }

    /// What KMS says of where a key came from. It has passed the checks of a key that is used.
    pub(crate) async fn attest(&self, key: &Named) -> Result<KeyEvidence> {
        let said = self.describe(&key.id).await.map_err(|fault| self.absent(&key.shown, fault))?;
        if said.key_id != key.id {
            return Err(other_key(&key.shown));
        }
        self.check(&key.shown, &said)?;
        Ok(KeyEvidence::KmsOrigin {
            arn: said.arn.unwrap_or_default(),
            origin: text(said.origin.as_ref().map(OriginType::as_str)),
            spec: text(said.key_spec.as_ref().map(KeySpec::as_str)),
            multi_region: said.multi_region != Some(false),
        })
    }

    /// Whether KMS answers us at all.
    pub(crate) async fn first_look(&self) -> Result<()> {
        let look = self.kms.list_aliases().limit(1).send().await;
        look.map(drop).map_err(|e| self.told(Fault::of("ListAliases", e)))
    }

    /// The key behind an alias, if there is one.
    pub(crate) async fn behind(&self, alias: &str) -> std::result::Result<Option<KeyMetadata>, Fault> {
        match self.describe(alias).await {
            Err(fault) if fault.meaning() == Some(Meaning::Gone) => Ok(None),
            other => other.map(Some),
        }
    }

    /// The names under which a key is known in this vault, sorted.
    pub(crate) async fn names(&self, key_id: &str) -> std::result::Result<Vec<String>, Fault> {
        let mut names: Vec<_> = self
            .aliases(Some(key_id))
            .await?
            .into_iter()
            .filter(|(_, id)| id == key_id)
            .map(|(name, _)| name)
            .collect();
        names.sort();
        Ok(names)
    }

    /// The aliases of this vault, as names with key ids: of one key, or all.
    pub(crate) async fn aliases(
        &self,
        key_id: Option<&str>,
    ) -> std::result::Result<Vec<(String, String)>, Fault> {
        let mut found = Vec::new();
        let (mut seen, mut marker) = (0, None);
        loop {
            let ask =
                self.kms.list_aliases().set_key_id(key_id.map(str::to_owned)).set_marker(marker).limit(100);
            let page = ask.send().await.map_err(|e| Fault::of("ListAliases", e))?;
            let entries = page.aliases.unwrap_or_default();
            seen += entries.len();
            for entry in entries {
                let name = entry.alias_name.and_then(|alias| self.address.name_of(&alias));
                if let (Some(name), Some(id)) = (name, entry.target_key_id.filter(|id| is_key_id(id))) {
                    found.push((name, id));
                }
            }
            marker = page.next_marker.filter(|_| page.truncated);
            if marker.is_none() {
                return Ok(found);
            }
            if seen > MAX_ALIASES {
                return Err(Fault::endless("ListAliases"));
            }
        }
    }

    /// Opens the key that a URI asks for.
    pub(crate) async fn open(&self, purpose: PurposeKind, wanted: &Wanted) -> Result<Opened> {
        let asked = match &wanted.target {
            Target::KeyId(id) => id.clone(),
            Target::Alias(alias) => alias.clone(),
            Target::Name(name) => self.address.alias(name),
        };
        let shown = wanted.target.shown();
        let key = self.describe(&asked).await.map_err(|fault| self.absent(shown, fault))?;
        if matches!(&wanted.target, Target::KeyId(id) if *id != key.key_id) {
            return Err(other_key(shown));
        }
        if let Some(name) = &wanted.name {
            // A destroyed key is told as such, whoever has its name now.
            usable(shown, &key)?;
            self.keeps_its_name(&key.key_id, name).await?;
        }
        let name = match (&wanted.target, &wanted.name) {
            (Target::Name(name), _) | (_, Some(name)) => Some(name.clone()),
            _ => self.names(&key.key_id).await.map_err(|fault| self.told(fault))?.into_iter().next(),
        };
        self.adopt(purpose, shown, key, name.as_deref()).await
    }

    /// A name in a URI beside the id must not be that of another key by now. That nothing has it any more harms nobody.
    async fn keeps_its_name(&self, key_id: &str, name: &str) -> Result<()> {
        match self.behind(&self.address.alias(name)).await.map_err(|fault| self.told(fault))? {
            Some(other) if other.key_id != key_id => {
                Err(Error::new(Kind::Corrupt, format!("`{name}` is the name of another key now"))
                    .with_hint("somebody replaced it: name the key that you mean by its `key-id` alone"))
            }
            _ => Ok(()),
        }
    }

    /// Checks a key and reads its public half.
    pub(crate) async fn adopt(
        &self,
        purpose: PurposeKind,
        shown: &str,
        key: KeyMetadata,
        name: Option<&str>,
    ) -> Result<Opened> {
        let algorithm = self.check(shown, &key)?;
        if algorithm.purpose() != purpose {
            return Err(wrong_purpose(shown, purpose));
        }
        usable(shown, &key)?;
        let public =
            self.public_half(algorithm, &key.key_id).await.map_err(|stop| stop.into_error(self, shown))?;
        let uri = self.address.key_uri(&key.key_id, name)?;
        Ok(Opened { id: key.key_id, uri, algorithm, public })
    }

    /// Whether a key is one that may be used here, whatever state it is in.
    pub(crate) fn check(&self, shown: &str, key: &KeyMetadata) -> Result<Algorithm> {
        let expected = format!(":kms:{}:{}:key/{}", self.address.region, account(key), key.key_id);
        if !is_key_id(&key.key_id) || !key.arn.as_deref().is_some_and(|arn| arn.ends_with(&expected)) {
            return Err(other_key(shown));
        }
        let refuse = |attribute: &str, value: &str, wanted: &str| {
            Err(Error::new(Kind::Invalid, format!("the key `{shown}` has `{attribute}` {value}")).with_hint(
                format!("keys that are used here have {wanted}: make one with `ockam-kms key generate`"),
            ))
        };
        match &key.key_manager {
            Some(KeyManagerType::Customer) => {}
            other => {
                return refuse("KeyManager", &text(other.as_ref().map(KeyManagerType::as_str)), "CUSTOMER");
            }
        }
        match &key.origin {
            Some(OriginType::AwsKms) => {}
            other => return refuse("Origin", &text(other.as_ref().map(OriginType::as_str)), "AWS_KMS"),
        }
        if key.multi_region != Some(false) {
            return refuse("MultiRegion", &text(key.multi_region.map(|_| "true")), "false");
        }
        let of = |algorithm: &Algorithm| {
            let wanted = spec(*algorithm);
            wanted.as_ref().is_some_and(|(spec, usage)| {
                key.key_spec.as_ref() == Some(spec) && key.key_usage.as_ref() == Some(usage)
            })
        };
        Algorithm::ALL.into_iter().find(of).ok_or_else(|| {
            let spec = text(key.key_spec.as_ref().map(KeySpec::as_str));
            let usage = text(key.key_usage.as_ref().map(KeyUsageType::as_str));
            Error::new(Kind::Unsupported, format!("the key `{shown}` is a {spec} key for {usage}"))
                .with_hint("key types are ed25519, p256, ecdh-p256 and aes256-gcm")
        })
    }

    /// The public half of a key that was described, for algorithms that have one.
    pub(crate) async fn public_half(
        &self,
        algorithm: Algorithm,
        key_id: &str,
    ) -> std::result::Result<Option<Vec<u8>>, Stop> {
        if algorithm.purpose() == PurposeKind::Sealing {
            return Ok(None);
        }
        let answer = self.kms.get_public_key().key_id(key_id).send().await;
        let answer = answer.map_err(|e| Fault::of("GetPublicKey", e))?;
        let wanted = spec(algorithm);
        let same = wanted.is_some_and(|(spec, usage)| {
            answer.key_spec.as_ref() == Some(&spec) && answer.key_usage.as_ref() == Some(&usage)
        });
        if !same || !is_of(answer.key_id.as_deref(), key_id) {
            return Err(other_key(key_id).into());
        }
        let spki = answer.public_key.map(|blob| blob.into_inner()).unwrap_or_default();
        let public = if algorithm.purpose() == PurposeKind::Signing {
            encoding::verifying_key(algorithm, &spki)?.as_bytes().to_vec()
        } else {
            encoding::agreement_key(algorithm, &spki)?.as_bytes().to_vec()
        };
        Ok(Some(public))
    }

    /// The error of a call that changes nothing.
    pub(crate) fn told(&self, fault: Fault) -> Error {
        fault.into_error(&self.address.shown())
    }

    /// The same, where what is not found is a key.
    pub(crate) fn absent(&self, shown: &str, fault: Fault) -> Error {
        if fault.meaning() == Some(Meaning::Gone) {
            not_found(shown, &self.address.shown())
        } else {
            self.told(fault)
        }
    }

    /// The error of a call that used a key. When its state forbids it, a look at the key tells which state that is.
    pub(crate) async fn state_of(&self, key_id: &str, shown: &str, fault: Fault) -> Error {
        if !matches!(fault.meaning(), Some(Meaning::State | Meaning::Disabled)) {
            return self.absent(shown, fault);
        }
        match self.describe(key_id).await {
            // Enabled by now, or a state that has no error of its own: what KMS said first stands.
            Ok(key) => usable(shown, &key).err().unwrap_or_else(|| self.told(fault)),
            Err(second) if second.meaning() == Some(Meaning::Gone) => self.absent(shown, second),
            Err(_) => self.told(fault),
        }
    }
}

/// A call that failed, or an answer that is none.
#[derive(Debug)]
pub(crate) enum Stop {
    Fault(Fault),
    Decided(Error),
}

impl Stop {
    pub(crate) fn into_error(self, kms: &Kms, shown: &str) -> Error {
        match self {
            Self::Fault(fault) => kms.absent(shown, fault),
            Self::Decided(error) => error,
        }
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Decided(error)
    }
}

/// Whether what KMS names in an answer, by its ARN or its id, is the key that was asked for.
pub(crate) fn is_of(named: Option<&str>, key_id: &str) -> bool {
    named.is_some_and(|named| {
        named == key_id || named.rsplit_once(":key/").is_some_and(|(_, id)| id == key_id)
    })
}

/// Whether a key can be used, in the state that it is in.
pub(crate) fn usable(shown: &str, key: &KeyMetadata) -> Result<()> {
    match &key.key_state {
        Some(KeyState::Enabled) => Ok(()),
        Some(KeyState::Disabled) => Err(Error::new(Kind::Denied, format!("the key `{shown}` is disabled"))
            .with_hint(format!(
                "somebody disabled it: `aws kms enable-key --key-id {}` enables it again",
                key.key_id
            ))),
        Some(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion) => Err(doomed(shown, &key.key_id)),
        Some(KeyState::Creating | KeyState::Updating | KeyState::Unavailable) => {
            let state = text(key.key_state.as_ref().map(KeyState::as_str));
            Err(Error::new(Kind::Unavailable, format!("the key `{shown}` is in the state {state}"))
                .with_retry(AGAIN)
                .with_hint("it passes; try again"))
        }
        other => {
            let state = text(other.as_ref().map(KeyState::as_str));
            Err(Error::new(Kind::Denied, format!("the key `{shown}` is in the state {state}"))
                .with_hint("`aws kms describe-key` tells more"))
        }
    }
}

/// Destroyed, and not gone yet: for everybody but who takes it back, it is not there.
fn doomed(shown: &str, key_id: &str) -> Error {
    Error::new(Kind::NotFound, format!("the key `{shown}` is going to be deleted"))
        .with_retry(Retry::NeedsOperator)
        .with_hint(format!("until then it can be had back: `ockam-kms key restore awskms:key-id={key_id}`"))
}

fn not_found(shown: &str, service: &str) -> Error {
    Error::new(Kind::NotFound, format!("there is no key `{shown}` in {service}")).with_hint(
        "check region, account and namespace; if it was there, it was destroyed: `ockam-kms key restore` has it back for some days",
    )
}

pub(crate) fn wrong_purpose(shown: &str, purpose: PurposeKind) -> Error {
    Error::new(Kind::Invalid, format!("the key `{shown}` is not for {purpose}"))
}

/// An answer about another key than the one that was asked for.
pub(crate) fn other_key(shown: &str) -> Error {
    Error::new(Kind::Corrupt, format!("KMS answered for another key than `{shown}`"))
        .with_hint("this should not happen: check what stands between here and KMS")
}

fn account(key: &KeyMetadata) -> &str {
    key.aws_account_id.as_deref().unwrap_or_default()
}

/// A word of KMS's for a message.
fn text(word: Option<&str>) -> String {
    word.map_or_else(
        || "nothing".to_owned(),
        |word| word.chars().take(40).collect::<String>().escape_debug().to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

    fn metadata() -> aws_sdk_kms::types::builders::KeyMetadataBuilder {
        KeyMetadata::builder()
            .key_id(ID)
            .aws_account_id("111122223333")
            .arn(format!("arn:aws:kms:eu-west-1:111122223333:key/{ID}"))
            .key_manager(KeyManagerType::Customer)
            .origin(OriginType::AwsKms)
            .multi_region(false)
            .key_state(KeyState::Enabled)
            .key_spec(KeySpec::EccNistP256)
            .key_usage(KeyUsageType::SignVerify)
    }

    fn kms() -> Kms {
        let address = crate::address::Address::parse(&"awskms:region=eu-west-1".parse().unwrap()).unwrap();
        let config =
            aws_sdk_kms::Config::builder().behavior_version(aws_config::BehaviorVersion::v2026_01_12());
        let tagging = aws_sdk_resourcegroupstagging::Config::builder()
            .behavior_version(aws_config::BehaviorVersion::v2026_01_12());
        Kms {
            address,
            kms: aws_sdk_kms::Client::from_conf(config.build()),
            tagging: aws_sdk_resourcegroupstagging::Client::from_conf(tagging.build()),
        }
    }

    #[test]
    fn only_keys_of_our_kind_are_used() {
        let kms = kms();
        let check =
            |key: aws_sdk_kms::types::builders::KeyMetadataBuilder| kms.check("k", &key.build().unwrap());
        assert_eq!(check(metadata()).unwrap(), Algorithm::EcdsaP256);
        for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256, Algorithm::EcdhP256, Algorithm::Aes256Gcm]
        {
            let (spec, usage) = spec(algorithm).unwrap();
            assert_eq!(check(metadata().key_spec(spec).key_usage(usage)).unwrap(), algorithm);
        }
        let refused = |key, attribute: &str, kind| {
            let error = check(key).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(attribute), "{error}");
        };
        refused(metadata().key_manager(KeyManagerType::Aws), "`KeyManager` AWS", Kind::Invalid);
        refused(metadata().set_key_manager(None), "`KeyManager` nothing", Kind::Invalid);
        refused(metadata().origin(OriginType::External), "`Origin` EXTERNAL", Kind::Invalid);
        refused(
            metadata().origin(OriginType::ExternalKeyStore),
            "`Origin` EXTERNAL_KEY_STORE",
            Kind::Invalid,
        );
        refused(metadata().origin(OriginType::from("new\n")), "`Origin` new\\n", Kind::Invalid);
        refused(metadata().multi_region(true), "`MultiRegion` true", Kind::Invalid);
        refused(metadata().set_multi_region(None), "`MultiRegion` nothing", Kind::Invalid);
        refused(metadata().key_spec(KeySpec::EccNistP384), "ECC_NIST_P384", Kind::Unsupported);
        refused(metadata().key_spec(KeySpec::SymmetricDefault), "SYMMETRIC_DEFAULT", Kind::Unsupported);
        refused(metadata().key_usage(KeyUsageType::EncryptDecrypt), "ENCRYPT_DECRYPT", Kind::Unsupported);
        refused(metadata().set_key_usage(None), "nothing", Kind::Unsupported);
        refused(metadata().key_id("../x"), "another key", Kind::Corrupt);
        refused(
            metadata().arn(format!("arn:aws:kms:eu-west-2:111122223333:key/{ID}")),
            "another key",
            Kind::Corrupt,
        );
        refused(metadata().set_arn(None), "another key", Kind::Corrupt);
    }

    #[test]
    fn every_state_has_its_error() {
        let state = |state: KeyState| usable("k", &metadata().key_state(state).build().unwrap());
        assert!(state(KeyState::Enabled).is_ok());
        for (of, kind, retry) in [
            (KeyState::Disabled, Kind::Denied, Retry::NeedsOperator),
            (KeyState::PendingDeletion, Kind::NotFound, Retry::NeedsOperator),
            (KeyState::PendingReplicaDeletion, Kind::NotFound, Retry::NeedsOperator),
            (KeyState::Creating, Kind::Unavailable, AGAIN),
            (KeyState::Updating, Kind::Unavailable, AGAIN),
            (KeyState::Unavailable, Kind::Unavailable, AGAIN),
            (KeyState::PendingImport, Kind::Denied, Retry::NeedsOperator),
            (KeyState::from("Frozen"), Kind::Denied, Retry::NeedsOperator),
        ] {
            let error = state(of.clone()).unwrap_err();
            assert_eq!((error.kind(), error.retry()), (kind, retry), "{of}");
            assert!(error.hint().is_some());
        }
        assert!(usable("k", &metadata().set_key_state(None).build().unwrap()).is_err());
    }

    #[test]
    fn an_answer_is_for_the_key_that_was_asked_for() {
        assert!(is_of(Some(ID), ID));
        assert!(is_of(Some(&format!("arn:aws:kms:eu-west-1:1:key/{ID}")), ID));
        for other in [
            None,
            Some(""),
            Some("x"),
            Some("arn:aws:kms:eu-west-1:1:key/x"),
            Some("arn:aws:kms:r:1:alias/x"),
        ] {
            assert!(!is_of(other, ID), "{other:?}");
        }
    }
}
