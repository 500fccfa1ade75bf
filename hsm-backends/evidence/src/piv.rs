//! PIV slot attestation as YubiKeys do it: a certificate for the slot's key, issued by a key that only signs such
//! certificates and lives in slot f9.

use vault::VerifyingKey;
use x509_parser::certificate::X509Certificate;

use crate::chain::{self, Anchors, extension, parse, public_key};
use crate::error::{Error, Result};
use crate::facts::{KeyFacts, Protection, Touch, Weakness};

// Extensions of the slot's certificate, under Yubico's arc: version (3 bytes), serial number (INTEGER), PIN and touch
// policy (2 bytes).
const FIRMWARE: &str = "1.3.6.1.4.1.41482.3.3";
const SERIAL: &str = "1.3.6.1.4.1.41482.3.7";
const POLICY: &str = "1.3.6.1.4.1.41482.3.8";
/// Whose extensions these are.
const PRODUCT: &str = "Yubico YubiKey";

pub(crate) fn verify(
    key: &VerifyingKey,
    certificate: &[u8],
    intermediate: &[u8],
    anchors: &Anchors,
    at: u64,
) -> Result<KeyFacts> {
    let (slot, device) = (parse(certificate)?, parse(intermediate)?);
    if public_key(&slot).as_deref() != Some(key.as_bytes()) {
        return Err(Error::refused("the slot's certificate is for another key"));
    }
    chain::verify(&[&slot, &device], anchors, at)?;
    // Only what a device attests has these: an ordinary certificate of the same issuer proves nothing.
    let [_pin, touch] = extension(&slot, POLICY)
        .and_then(|value| <[u8; 2]>::try_from(value).ok())
        .ok_or_else(|| Error::refused("the slot's certificate is no attestation: it names no policy"))?;
    let touch = match touch {
        1 => Touch::Never,
        2 => Touch::Always,
        3 => Touch::Cached,
        _ => return Err(Error::refused("the slot's certificate names an unknown touch policy")),
    };
    let firmware = firmware(&slot);
    Ok(KeyFacts {
        protection: Protection::Attested,
        exportable: false,
        touch,
        weakness: Weakness::of_firmware(PRODUCT, firmware.as_deref().unwrap_or_default()),
        device: describe(&slot, firmware),
    })
}

fn firmware(slot: &X509Certificate<'_>) -> Option<String> {
    match extension(slot, FIRMWARE) {
        Some([major, minor, patch]) => Some(format!("{major}.{minor}.{patch}")),
        _ => None,
    }
}

fn describe(slot: &X509Certificate<'_>, firmware: Option<String>) -> Vec<(String, String)> {
    let mut device: Vec<_> = firmware.into_iter().map(|version| ("firmware".to_owned(), version)).collect();
    // INTEGER, short form: at most eight bytes of a number that is not negative.
    if let Some([2, length, number @ ..]) = extension(slot, SERIAL)
        && usize::from(*length) == number.len()
        && number.len() <= 8
        && number.first().is_some_and(|first| *first < 0x80)
    {
        let serial = number.iter().fold(0_u64, |serial, byte| (serial << 8) | u64::from(*byte));
        device.push(("serial".to_owned(), serial.to_string()));
    }
    device
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, IsCa, Issuer, KeyPair, KeyUsagePurpose,
        PKCS_ECDSA_P256_SHA256,
    };
    use vault::{Algorithm, KeyEvidence};

    use crate::{Anchors, KeyAttestation, Kind, Protection, Touch, Weakness};

    const NOW: u64 = 1_760_000_000;

    struct World {
        root: rcgen::Certificate,
        intermediate: rcgen::Certificate,
        slot: rcgen::Certificate,
        key: KeyPair,
    }

    fn pair() -> KeyPair {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
    }

    fn named(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params
    }

    fn authority(name: &str, path: Option<u8>) -> CertificateParams {
        let mut params = named(name);
        params.is_ca = IsCa::Ca(path.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
    }

    fn attested(policy: &[u8], firmware: &[u8]) -> CertificateParams {
        let mut params = named("PIV attestation of slot 9a");
        let extension = |last: u64, value: &[u8]| {
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 41482, 3, last], value.to_vec())
        };
        params.custom_extensions = vec![extension(3, firmware), extension(7, &[2, 4, 1, 2, 3, 4])];
        if !policy.is_empty() {
            params.custom_extensions.push(extension(8, policy));
        }
        params
    }

    /// A manufacturer, a device and an attested slot; the parameters of the last two can be changed.
    fn world(policy: &[u8], device: CertificateParams) -> World {
        world_of(policy, &[5, 7, 1], device)
    }

    fn world_of(policy: &[u8], firmware: &[u8], device: CertificateParams) -> World {
        let root_key = pair();
        let root_params = authority("manufacturer", None);
        let root = root_params.self_signed(&root_key).unwrap();
        let root_issuer = Issuer::new(root_params, &root_key);
        let (device_key, key) = (pair(), pair());
        let intermediate = device.signed_by(&device_key, &root_issuer).unwrap();
        let slot = attested(policy, firmware).signed_by(&key, &Issuer::new(device, &device_key)).unwrap();
        World { root, intermediate, slot, key }
    }

    fn attestation(world: &World) -> KeyAttestation {
        let public =
            vault::VerifyingKey::from_bytes(Algorithm::EcdsaP256, world.key.public_key_raw()).unwrap();
        let evidence = KeyEvidence::PivAttestation {
            certificate: world.slot.der().to_vec(),
            intermediate: world.intermediate.der().to_vec(),
        };
        KeyAttestation::new(public, evidence, NOW)
    }

    fn anchors(world: &World) -> Anchors {
        Anchors::from_pem(world.root.pem().as_bytes()).unwrap()
    }

    #[test]
    fn a_slot_that_a_known_manufacturer_attests() {
        for (policy, touch) in [([2, 1], Touch::Never), ([3, 2], Touch::Always), ([1, 3], Touch::Cached)] {
            let world = world(&policy, authority("device", Some(0)));
            let facts = attestation(&world).verify(&anchors(&world), NOW).unwrap();
            assert_eq!(
                (facts.protection, facts.exportable, facts.touch),
                (Protection::Attested, false, touch)
            );
            let told = [("firmware", "5.7.1"), ("serial", "16909060")];
            assert_eq!(facts.device, told.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
    }

    #[test]
    fn the_firmware_that_it_attests_tells_whether_it_is_weak() {
        let weakness = |firmware: &[u8]| {
            let world = world_of(&[1, 1], firmware, authority("device", Some(0)));
            attestation(&world).verify(&anchors(&world), NOW).unwrap().weakness
        };
        assert_eq!(weakness(&[5, 4, 3]), Weakness::Known(vec!["CVE-2024-45678 (EUCLEAK, YSA-2024-03)"]));
        assert_eq!(weakness(&[5, 7, 1]), Weakness::None);
        assert_eq!(weakness(&[5, 7]), Weakness::Unknown);
    }

    #[test]
    fn everything_that_is_not_quite_that_is_refused() {
        let good = world(&[1, 1], authority("device", Some(0)));
        let refused = |attestation: &KeyAttestation, anchors: &Anchors, at: u64, says: &str| {
            let error = attestation.verify(anchors, at).unwrap_err();
            assert_eq!(error.kind(), Kind::Refused, "{error}");
            assert!(error.to_string().contains(says), "{error}");
        };
        let other = world(&[1, 1], authority("device", Some(0)));
        refused(&attestation(&good), &Anchors::none(), NOW, "none that is trusted");
        // The same names, another manufacturer's key.
        refused(&attestation(&good), &anchors(&other), NOW, "none that is trusted");
        refused(&attestation(&good), &anchors(&good), 0, "not good at this time");
        let mixed =
            World { intermediate: other.intermediate, ..world(&[1, 1], authority("device", Some(0))) };
        refused(&attestation(&mixed), &anchors(&mixed), NOW, "not issued by the one above");
        let another_key = World { key: pair(), ..world(&[1, 1], authority("device", Some(0))) };
        refused(&attestation(&another_key), &anchors(&another_key), NOW, "another key");
        // A device that may issue nothing, or whose certificate demands something.
        let leaf = world(&[1, 1], named("device"));
        refused(&attestation(&leaf), &anchors(&leaf), NOW, "not issued by the one above");
        let mut demanding = authority("device", Some(0));
        let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        unknown.set_criticality(true);
        demanding.custom_extensions.push(unknown);
        let demanding = world(&[1, 1], demanding);
        refused(&attestation(&demanding), &anchors(&demanding), NOW, "something unknown");
        for (policy, says) in [(&[][..], "no policy"), (&[1], "no policy"), (&[1, 9], "unknown touch")] {
            let world = world(policy, authority("device", Some(0)));
            refused(&attestation(&world), &anchors(&world), NOW, says);
        }
        // The manufacturer's own certificate in place of the device's: the slot was not issued by it.
        let above = World { intermediate: good.root.clone(), ..good };
        refused(&attestation(&above), &anchors(&above), NOW, "not issued by the one above");
    }
}
