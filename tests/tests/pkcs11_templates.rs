//! Which keys on a token the PKCS#11 backend is willing to use: keys with every wrong attribute are made beside it, with
//! the raw library, and refused by name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

use std::sync::Arc;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use ockam_kms_tests::softhsm::{MODULE, PIN, SoftHsm};
use pkcs11::Pkcs11Backend;
use vault::{Backend, KeyName, KeySpec, KeyUri, Kind, Nobody, PurposeKind, Vault, block_on};

const P256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
const X25519: &[u8] = b"\x06\x03\x2b\x65\x6e";

/// The token as everybody else sees it.
struct Raw {
    context: Pkcs11,
    label: &'static str,
}

impl Raw {
    fn new(label: &'static str) -> Self {
        let context = Pkcs11::new(MODULE).unwrap();
        // The vault has initialised the module of this process.
        context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap_err();
        Self { context, label }
    }

    /// A session of its own each time: the vault may reset the module between two.
    fn session(&self) -> Session {
        let slots = self.context.get_slots_with_initialized_token().unwrap();
        let ours = |slot: &Slot| self.context.get_token_info(*slot).unwrap().label() == self.label;
        let session = self.context.open_rw_session(slots.into_iter().find(ours).unwrap()).unwrap();
        let _ = session.login(UserType::User, Some(&AuthPin::new(PIN.into())));
        session
    }

    /// Makes a key pair. What is not made on the token lives as long as the session.
    fn pair(
        &self,
        by: &Mechanism<'_>,
        curve: &[u8],
        label: &str,
        secret: &[Attribute],
    ) -> (Session, ObjectHandle) {
        let public = [
            Attribute::Token(!secret.contains(&Attribute::Token(false))),
            Attribute::Private(false),
            Attribute::EcParams(curve.to_vec()),
            Attribute::Label(label.into()),
            Attribute::Id(label.into()),
        ];
        let session = self.session();
        let key = session.generate_key_pair(by, &public, secret).unwrap().1;
        (session, key)
    }

    fn find(&self, class: ObjectClass, label: &str) -> Vec<ObjectHandle> {
        let search = [Attribute::Class(class), Attribute::Label(label.into())];
        self.session().find_objects(&search).unwrap()
    }
}

/// The right template for what this key is for.
fn template(label: &str, purpose: PurposeKind) -> Vec<Attribute> {
    let mut template = vec![
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Modifiable(false),
        Attribute::Copyable(false),
        Attribute::WrapWithTrusted(true),
        Attribute::Label(label.into()),
        Attribute::Id(label.into()),
    ];
    template.extend(match purpose {
        PurposeKind::Signing | PurposeKind::Agreement => {
            let signs = purpose == PurposeKind::Signing;
            let by = if signs { MechanismType::ECDSA } else { MechanismType::ECDH1_DERIVE };
            vec![
                Attribute::Sign(signs),
                Attribute::Derive(!signs),
                Attribute::SignRecover(false),
                Attribute::Decrypt(false),
                Attribute::Unwrap(false),
                Attribute::AllowedMechanisms(vec![by]),
            ]
        }
        PurposeKind::Sealing => vec![
            Attribute::ValueLen(32.into()),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::Wrap(false),
            Attribute::Unwrap(false),
            Attribute::Sign(false),
            Attribute::Verify(false),
            Attribute::Derive(false),
            Attribute::AllowedMechanisms(vec![MechanismType::AES_GCM]),
        ],
    });
    template
}

fn changed(mut template: Vec<Attribute>, to: &Attribute) -> Vec<Attribute> {
    let place = template.iter().position(|attribute| attribute.attribute_type() == to.attribute_type());
    template[place.unwrap()] = to.clone();
    template
}

fn open(uri: &KeyUri) -> Arc<dyn Vault> {
    block_on(Pkcs11Backend::new().open(uri, Arc::new(Nobody))).unwrap()
}

fn uri(label: &str) -> KeyUri {
    format!("pkcs11:object={label}").parse().unwrap()
}

/// Opens for a purpose and forgets the handle.
fn try_open(vault: &dyn Vault, purpose: PurposeKind, label: &str) -> vault::Result<()> {
    let uri = uri(label);
    match purpose {
        PurposeKind::Signing => block_on(vault.signing().unwrap().open(&uri)).map(drop),
        PurposeKind::Agreement => block_on(vault.agreement().unwrap().open(&uri)).map(drop),
        PurposeKind::Sealing => block_on(vault.sealing().unwrap().open(&uri)).map(drop),
    }
}

fn refused(vault: &dyn Vault, purpose: PurposeKind, label: &str, attribute: &str) {
    let error = try_open(vault, purpose, label).expect_err("a key with a wrong attribute is refused");
    assert_eq!(error.kind(), Kind::Invalid, "{attribute}: {error}");
    assert!(error.to_string().contains(attribute), "{attribute} is not named: {error}");
    let listed = block_on(vault.listing().unwrap().list()).unwrap();
    assert!(!listed.iter().any(|info| info.name == label), "a refused key is not listed: {attribute}");
}

#[test]
fn every_wrong_attribute_of_a_signing_key_is_named() {
    let Some(hsm) = SoftHsm::enter("every_wrong_attribute_of_a_signing_key_is_named") else { return };
    let vault = open(&hsm.init("t"));
    let raw = Raw::new("t");
    let sign = PurposeKind::Signing;
    raw.pair(&Mechanism::EccKeyPairGen, P256, "good", &template("good", sign));
    try_open(&*vault, sign, "good").expect("with the right template it is used, whoever made it");
    let several = vec![MechanismType::ECDSA, MechanismType::ECDH1_DERIVE];
    let mutations = [
        Attribute::Token(false),
        Attribute::Private(false),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
        Attribute::Sign(false),
        Attribute::Derive(true),
        Attribute::SignRecover(true),
        Attribute::Decrypt(true),
        Attribute::Unwrap(true),
        Attribute::Modifiable(true),
        Attribute::Copyable(true),
        Attribute::WrapWithTrusted(false),
        Attribute::AllowedMechanisms(several),
    ];
    for (place, mutation) in mutations.iter().enumerate() {
        let label = format!("m{place}");
        let _kept =
            raw.pair(&Mechanism::EccKeyPairGen, P256, &label, &changed(template(&label, sign), mutation));
        refused(&*vault, sign, &label, &mutation.attribute_type().to_string());
    }
    let mut unlimited = template("unlimited", sign);
    unlimited.retain(|attribute| attribute.attribute_type() != AttributeType::AllowedMechanisms);
    raw.pair(&Mechanism::EccKeyPairGen, P256, "unlimited", &unlimited);
    refused(&*vault, sign, "unlimited", "CKA_ALLOWED_MECHANISMS");
    // What a key once was cannot be set, only caused.
    for (label, was, now, attribute) in [
        ("once-open", Attribute::Sensitive(false), Attribute::Sensitive(true), "CKA_ALWAYS_SENSITIVE"),
        ("once-out", Attribute::Extractable(true), Attribute::Extractable(false), "CKA_NEVER_EXTRACTABLE"),
    ] {
        let open = changed(changed(template(label, sign), &was), &Attribute::Modifiable(true));
        let (session, key) = raw.pair(&Mechanism::EccKeyPairGen, P256, label, &open);
        session.update_attributes(key, &[now]).unwrap();
        refused(&*vault, sign, label, attribute);
    }
    let imported = [
        template("imported", sign),
        vec![
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::KeyType(KeyType::EC),
            Attribute::EcParams(P256.to_vec()),
            Attribute::Value(vec![7; 32]),
        ],
    ]
    .concat();
    raw.session().create_object(&imported).unwrap();
    refused(&*vault, sign, "imported", "CKA_LOCAL");
}

#[test]
fn every_wrong_attribute_of_the_other_keys_is_named() {
    let Some(hsm) = SoftHsm::enter("every_wrong_attribute_of_the_other_keys_is_named") else { return };
    let vault = open(&hsm.init("t"));
    let raw = Raw::new("t");
    let (agree, seal) = (PurposeKind::Agreement, PurposeKind::Sealing);
    let pair = |label: &str, template: &[Attribute]| {
        raw.pair(&Mechanism::EccEdwardsKeyPairGen, X25519, label, template)
    };
    let secret = |template: &[Attribute]| raw.session().generate_key(&Mechanism::AesKeyGen, template);
    pair("good", &template("good", agree));
    try_open(&*vault, agree, "good").expect("the right template");
    secret(&template("good-too", seal)).unwrap();
    try_open(&*vault, seal, "good-too").expect("the right template");
    for mutation in
        [Attribute::Sign(true), Attribute::Derive(false), Attribute::Decrypt(true), Attribute::Unwrap(true)]
    {
        let label = format!("agree-{mutation:?}").replace(['(', ')'], "-");
        pair(&label, &changed(template(&label, agree), &mutation));
        refused(&*vault, agree, &label, &mutation.attribute_type().to_string());
    }
    for mutation in [
        Attribute::Wrap(true),
        Attribute::Unwrap(true),
        Attribute::Sign(true),
        Attribute::Verify(true),
        Attribute::Derive(true),
        Attribute::Encrypt(false),
        Attribute::Decrypt(false),
        Attribute::Extractable(true),
        Attribute::AllowedMechanisms(vec![MechanismType::AES_ECB]),
    ] {
        let label = format!("seal-{mutation:?}").replace(['(', ')', '[', ']', '{', '}', ':', ' '], "-");
        secret(&changed(template(&label, seal), &mutation)).unwrap();
        refused(&*vault, seal, &label, &mutation.attribute_type().to_string());
    }
    secret(&changed(template("short", seal), &Attribute::ValueLen(16.into()))).unwrap();
    assert_eq!(try_open(&*vault, seal, "short").unwrap_err().kind(), Kind::Unsupported);
}

#[test]
fn a_key_on_p256_signs_or_agrees() {
    let Some(hsm) = SoftHsm::enter("a_key_on_p256_signs_or_agrees") else { return };
    let vault = open(&hsm.init("t"));
    let raw = Raw::new("t");
    let (sign, agree) = (PurposeKind::Signing, PurposeKind::Agreement);
    let pair =
        |label: &str, template: &[Attribute]| raw.pair(&Mechanism::EccKeyPairGen, P256, label, template);
    let not_for = |purpose, label| {
        let error = try_open(&*vault, purpose, label).expect_err("a key for something else");
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
        assert!(error.to_string().contains(&format!("is not for {purpose}")), "{error}");
    };
    pair("agrees", &template("agrees", agree));
    try_open(&*vault, agree, "agrees").expect("the right template");
    not_for(sign, "agrees");
    pair("signs", &template("signs", sign));
    not_for(agree, "signs");
    // One that does both, or nothing, is neither.
    for (label, mutation) in [("both", Attribute::Sign(true)), ("nothing", Attribute::Derive(false))] {
        pair(label, &changed(template(label, agree), &mutation));
        not_for(agree, label);
        refused(&*vault, sign, label, "CKA_");
    }
    for mutation in [Attribute::Decrypt(true), Attribute::Unwrap(true), Attribute::Extractable(true)] {
        let label = format!("agree-{mutation:?}").replace(['(', ')'], "-");
        pair(&label, &changed(template(&label, agree), &mutation));
        refused(&*vault, agree, &label, &mutation.attribute_type().to_string());
    }
}

#[test]
fn a_public_half_that_belongs_to_another_key_is_noticed() {
    let Some(hsm) = SoftHsm::enter("a_public_half_that_belongs_to_another_key_is_noticed") else { return };
    let vault = open(&hsm.init("t"));
    for (by, curve, key_type) in [
        (Mechanism::EccEdwardsKeyPairGen, X25519, KeyType::EC_EDWARDS),
        (Mechanism::EccKeyPairGen, P256, KeyType::EC),
    ] {
        foreign_public_half(&*vault, &by, curve, key_type);
    }
}

fn foreign_public_half(vault: &dyn Vault, by: &Mechanism<'_>, curve: &[u8], key_type: KeyType) {
    let raw = Raw::new("t");
    let agree = PurposeKind::Agreement;
    let [one, other] = ["a", "b"].map(|label| format!("{label}{}", curve.len()));
    for label in [&one, &other] {
        raw.pair(by, curve, label, &template(label, agree));
        try_open(vault, agree, label).expect("its own public half");
    }
    let public = |label: &str| raw.find(ObjectClass::PUBLIC_KEY, label)[0];
    let point = raw.session().get_attributes(public(&other), &[AttributeType::EcPoint]).unwrap().remove(0);
    raw.session().destroy_object(public(&one)).unwrap();
    assert_eq!(try_open(vault, agree, &one).unwrap_err().kind(), Kind::Corrupt, "without a public half");
    let foreign = [
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::KeyType(key_type),
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::EcParams(curve.to_vec()),
        point,
        Attribute::Label(one.as_bytes().to_vec()),
        Attribute::Id(one.as_bytes().to_vec()),
    ];
    raw.session().create_object(&foreign).unwrap();
    assert_eq!(try_open(vault, agree, &one).unwrap_err().kind(), Kind::Corrupt, "with a foreign one");
    raw.session().create_object(&foreign).unwrap();
    assert_eq!(try_open(vault, agree, &one).unwrap_err().kind(), Kind::Invalid, "with two of them");
}

#[test]
fn two_keys_that_match_are_refused() {
    let Some(hsm) = SoftHsm::enter("two_keys_that_match_are_refused") else { return };
    let vault = open(&hsm.init("t"));
    let raw = Raw::new("t");
    let sign = PurposeKind::Signing;
    let twin = |label: &str, id: &str| {
        let secret = changed(template(label, sign), &Attribute::Id(id.into()));
        let public = [
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::EcParams(P256.to_vec()),
            Attribute::Label(label.into()),
            Attribute::Id(id.into()),
        ];
        raw.session().generate_key_pair(&Mechanism::EccKeyPairGen, &public, &secret).unwrap();
    };
    twin("twin", "1");
    twin("twin", "2");
    let error = try_open(&*vault, sign, "twin").expect_err("two keys of one label");
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("2 keys"), "{error}");
    // Each has an id of its own, by which it can be named, and is listed.
    let listed = block_on(vault.listing().unwrap().list()).unwrap();
    assert_eq!(listed.len(), 2);
    for (info, id) in listed.iter().zip(["1", "2"]) {
        let by_id: KeyUri = format!("pkcs11:object=twin;id={id}").parse().unwrap();
        let key = block_on(vault.signing().unwrap().open(&by_id)).unwrap();
        assert_eq!(key.public().as_bytes(), info.public.as_deref().unwrap());
        assert_eq!(block_on(vault.signing().unwrap().open(&info.uri)).unwrap(), key);
        assert_eq!(block_on(vault.signing().unwrap().open(key.uri())).unwrap(), key);
    }
    let taken = block_on(vault.signing().unwrap().generate(&KeySpec::p256(KeyName::new("twin").unwrap())));
    assert_eq!(taken.unwrap_err().kind(), Kind::AlreadyExists);
    // The same label and the same id: nothing tells them apart.
    twin("twin", "1");
    let by_id: KeyUri = "pkcs11:object=twin;id=1".parse().unwrap();
    assert_eq!(block_on(vault.signing().unwrap().open(&by_id)).unwrap_err().kind(), Kind::Invalid);
    assert_eq!(block_on(vault.listing().unwrap().list()).unwrap().len(), 1);
}

#[test]
fn rests_of_keys_that_were_never_finished_are_discarded() {
    let Some(hsm) = SoftHsm::enter("rests_of_keys_that_were_never_finished_are_discarded") else { return };
    let vault = open(&hsm.init("t"));
    let raw = Raw::new("t");
    let facet = vault.signing().unwrap();
    let public = |label: &str| raw.find(ObjectClass::PUBLIC_KEY, label);
    let private = |label: &str| raw.find(ObjectClass::PRIVATE_KEY, label);
    let spec = |label: &str| KeySpec::p256(KeyName::new(label).unwrap());
    let discard = |label: &str| block_on(facet.discard(&KeyName::new(label).unwrap()));
    // As a crash between the two halves leaves it.
    let half = |label: &str| {
        block_on(facet.generate(&spec(label))).unwrap();
        raw.session().destroy_object(private(label)[0]).unwrap();
        assert_eq!(public(label).len(), 1);
    };
    half("a");
    assert_eq!(try_open(&*vault, PurposeKind::Signing, "a").unwrap_err().kind(), Kind::NotFound);
    discard("a").unwrap();
    assert_eq!(public("a").len(), 0);
    // It is in nobody's way.
    half("b");
    let made = block_on(facet.generate(&spec("b"))).unwrap();
    assert_eq!((private("b").len(), public("b").len()), (1, 2));
    assert_eq!(block_on(facet.open(made.uri())).unwrap(), made);
    // The other half missing: the key cannot be used, but it can be discarded.
    for object in public("b") {
        raw.session().destroy_object(object).unwrap();
    }
    assert_eq!(try_open(&*vault, PurposeKind::Signing, "b").unwrap_err().kind(), Kind::Corrupt);
    discard("b").unwrap();
    assert_eq!(private("b").len(), 0);
    // Somebody else's objects stay.
    raw.pair(&Mechanism::EccKeyPairGen, P256, "theirs", &template("theirs", PurposeKind::Signing));
    let error = discard("theirs").unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    assert_eq!((private("theirs").len(), public("theirs").len()), (1, 1));
}
