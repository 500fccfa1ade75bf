//! Doors that only tests open, behind the feature `danger`: the product never turns it on.

use std::sync::Arc;

use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::structures::{
    EccParameter, EccPoint, EncryptedSecret, Private, Public, SensitiveData, SymmetricDefinitionObject,
};
use vault::{
    Algorithm, Error, Interact, KeyName, KeyUri, Kind, Nobody, PurposeKind, Result, Scheme, SecretBytes,
};
use zeroize::Zeroizing;

use crate::address::Address;
use crate::auth::{AuthSource, auth};
use crate::backend::TpmBackend;
use crate::errors::{At as _, Done, Trouble};
use crate::link::{Link, Secrecy};
use crate::store::{Store, Stored};
use crate::template;

/// A backend that uses pairs that were imported into the TPM, and has no others, so that known vectors can go through it.
/// Everything else that is asked of a key stays.
#[must_use]
pub fn backend_that_takes_imported_keys() -> TpmBackend {
    let mut backend = TpmBackend::new();
    backend.takes_imported = true;
    backend
}

/// Puts a key that is known into a vault that is there: a scalar of P-256 that agrees, with its public point (`04`, X, Y), or an
/// AES key to be sealed by the TPM.
///
/// # Errors
/// [`Unsupported`](Kind::Unsupported) for keys of other types, else as opening a vault and generating a key.
pub fn import(
    vault: &KeyUri,
    name: &KeyName,
    algorithm: Algorithm,
    secret: &SecretBytes,
    public: &[u8],
) -> Result<KeyUri> {
    let address = Address::parse(vault)?;
    let interact: Arc<dyn Interact> = Arc::new(Nobody);
    let value = AuthSource::settle(&address, &interact)?.value()?;
    let store = Store::open(&address.path)?;
    let put = |link: &mut Link| match algorithm {
        Algorithm::Aes256Gcm => seal(link, &value, secret),
        Algorithm::EcdhP256 => load(link, &value, secret, public),
        _ => Err(Error::new(Kind::Unsupported, format!("no {algorithm} key is imported into a TPM")).into()),
    };
    let put = Link::open(&address.tcti).and_then(|mut link| put(&mut link));
    let (public, private) = put.map_err(|trouble| trouble.into_error(&address.tcti.text))?;
    store.write_new(&Stored::new(name, algorithm, None, public, private)?)?;
    Ok(KeyUri::of_key(Scheme::Tpm, name))
}

fn seal(link: &mut Link, value: &SecretBytes, secret: &SecretBytes) -> Done<(Public, Private)> {
    const COMMAND: &str = "TPM2_Create";
    let template = template::sealed(None).at("its template")?;
    let sensitive = SensitiveData::try_from(secret.expose()).at("its secret")?;
    let auth = auth(value)?;
    let made = link.with_storage(|link, storage| {
        link.run(Secrecy::COMMAND, COMMAND, |context| {
            context.create(storage, template, Some(auth), Some(sensitive), None, None)
        })
    })?;
    Ok((made.out_public, made.out_private))
}

/// TPM 2.0 Part 3, 13.3: without an inner or outer wrapper, the duplicate is the sensitive area as it is.
fn load(
    link: &mut Link,
    value: &SecretBytes,
    secret: &SecretBytes,
    public: &[u8],
) -> Done<(Public, Private)> {
    const COMMAND: &str = "TPM2_Import";
    let point = match public {
        [4, coordinates @ ..] if coordinates.len() == 64 => coordinates.split_at(32),
        _ => return Err(Error::new(Kind::Invalid, "the public half is no point of P-256").into()),
    };
    let point = EccPoint::new(
        EccParameter::try_from(point.0).at("its point")?,
        EccParameter::try_from(point.1).at("its point")?,
    );
    let attributes = ObjectAttributesBuilder::new().with_user_with_auth(true).with_decrypt(true).build();
    let pair = template::pair(PurposeKind::Agreement).at("its template")?;
    let public = match pair {
        Public::Ecc { name_hashing_algorithm, auth_policy, parameters, .. } => Public::Ecc {
            object_attributes: attributes.at("its attributes")?,
            name_hashing_algorithm,
            auth_policy,
            parameters,
            unique: point,
        },
        _ => return Err(Trouble::Nonsense("a template of another kind".to_owned())),
    };
    let duplicate = Private::try_from(sensitive(value, secret)?.to_vec()).at("its secret")?;
    let imported = public.clone();
    let private = link.with_storage(|link, storage| {
        link.run(Secrecy::NONE, COMMAND, |context| {
            let unencrypted = (EncryptedSecret::default(), SymmetricDefinitionObject::Null);
            context.import(storage.into(), None, imported, duplicate, unencrypted.0, unencrypted.1)
        })
    })?;
    Ok((public, private))
}

/// `TPM2B_SENSITIVE` of an elliptic-curve key (TPM 2.0 Part 2, 12.3.2.4): its type, authorization value, no seed, its scalar.
fn sensitive(value: &SecretBytes, secret: &SecretBytes) -> Result<Zeroizing<Vec<u8>>> {
    const ALG_ECC: u16 = 0x0023;
    let sized = |bytes: &[u8]| -> Result<Zeroizing<Vec<u8>>> {
        let length =
            u16::try_from(bytes.len()).map_err(|_| Error::new(Kind::Invalid, "too much to import"))?;
        Ok(Zeroizing::new([&length.to_be_bytes()[..], bytes].concat()))
    };
    let parts: [&[u8]; 4] =
        [&ALG_ECC.to_be_bytes(), &sized(value.expose())?, &sized(&[])?, &sized(secret.expose())?];
    sized(&Zeroizing::new(parts.concat()))
}
