//! What a TPM says of itself, for an inventory.

use tss_esapi::constants::PropertyTag as Tag;
use tss_esapi::structures::TaggedTpmPropertyList as Properties;
use vault::{Inventory, Left};

use crate::errors::{Done, Trouble};
use crate::link::Link;

/// `TPMA_PERMANENT` (TPM 2.0 Part 2, 8.6): whether the lockout hierarchy has an authorization value, and whether the
/// guard against dictionary attacks is up.
const LOCKOUT_AUTH_SET: u32 = 1 << 2;
const IN_LOCKOUT: u32 = 1 << 9;

/// Asks the TPM.
pub(crate) fn take(link: &mut Link) -> Done<Inventory> {
    // TPM 2.0 Part 2, 6.13: from the manufacturer to the firmware, and all that changes.
    let fixed = link.properties(Tag::Manufacturer, 8)?;
    let variable = link.properties(Tag::Permanent, 18)?;
    of(&fixed, &variable)
}

fn value(list: &Properties, tag: Tag) -> Option<u32> {
    list.find(tag).map(|property| property.value())
}

fn required(list: &Properties, tag: Tag) -> Done<u32> {
    value(list, tag).ok_or_else(|| Trouble::Nonsense(format!("TPM2_GetCapability: no {tag:?}")))
}

fn of(fixed: &Properties, variable: &Properties) -> Done<Inventory> {
    let maker = text(&[required(fixed, Tag::Manufacturer)?]);
    let model: Vec<_> = [Tag::VendorString1, Tag::VendorString2, Tag::VendorString3, Tag::VendorString4]
        .into_iter()
        .filter_map(|tag| value(fixed, tag))
        .collect();
    let product = format!("{maker} {}", text(&model));
    let high = required(fixed, Tag::FirmwareVersion1)?;
    let version = firmware(&maker, high, value(fixed, Tag::FirmwareVersion2).unwrap_or_default());
    let permanent = required(variable, Tag::Permanent)?;
    let tries = if permanent & IN_LOCKOUT != 0 {
        0
    } else {
        required(variable, Tag::MaxAuthFail)?.saturating_sub(required(variable, Tag::LockoutCounter)?)
    };
    let free = |tag| value(variable, tag).map(u64::from);
    let mut inventory = Inventory::new(&product)
        .with_version("firmware", &product, &version)
        .with_tries("authorization value", Left::Exactly(tries))
        .with_capacity("slots for loaded keys", free(Tag::HrTransientAvail), None)
        .with_capacity("handles for keys that the TPM keeps", free(Tag::HrPersistentAvail), None);
    if permanent & LOCKOUT_AUTH_SET == 0 {
        // Whoever reaches the TPM can then reset the counter of wrong values, or clear all keys.
        inventory = inventory.with_default_secret("lockout authorization");
    }
    if maker == "IBM" {
        inventory = inventory.with_notice(
            "the TPM is one in software: who reads the memory or the files of its process has its keys; it does not tell \
             which version of libtpms it is, so see that this is current",
        );
    }
    Ok(inventory)
}

/// Words of four letters each, one after another, padded with zeros or blanks.
fn text(words: &[u32]) -> String {
    let letters: String =
        words.iter().flat_map(|word| word.to_be_bytes()).filter(|byte| *byte != 0).map(char::from).collect();
    letters.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The firmware's version as its maker writes it. Most write four numbers of 16 bits.
fn firmware(maker: &str, high: u32, low: u32) -> String {
    let (major, minor) = (high >> 16, high & 0xffff);
    match maker {
        "IFX" => format!("{major}.{minor}.{}.{}", low >> 8, low & 0xff),
        // libtpms has the digits of a date there.
        "IBM" => format!("{high:x}.{low:x}"),
        _ => format!("{major}.{minor}.{}.{}", low >> 16, low & 0xffff),
    }
}

#[cfg(test)]
mod tests {
    use tss_esapi::structures::TaggedProperty;

    use super::*;

    fn list(properties: &[(Tag, u32)]) -> Properties {
        let tagged = properties.iter().map(|(tag, value)| TaggedProperty::new(*tag, *value));
        Properties::try_from(tagged.collect::<Vec<_>>()).unwrap()
    }

    fn word(letters: [u8; 4]) -> u32 {
        u32::from_be_bytes(letters)
    }

    fn chip(maker: [u8; 4], model: [[u8; 4]; 2], high: u32, low: u32) -> Properties {
        list(&[
            (Tag::Manufacturer, word(maker)),
            (Tag::VendorString1, word(model[0])),
            (Tag::VendorString2, word(model[1])),
            (Tag::VendorString3, 0),
            (Tag::FirmwareVersion1, high),
            (Tag::FirmwareVersion2, low),
        ])
    }

    fn state(permanent: u32, failures: u32) -> Properties {
        list(&[
            (Tag::Permanent, permanent),
            (Tag::HrTransientAvail, 3),
            (Tag::HrPersistentAvail, 0),
            (Tag::LockoutCounter, failures),
            (Tag::MaxAuthFail, 32),
        ])
    }

    #[test]
    fn makers_and_their_versions_are_told() {
        for (fixed, product, version, weak) in [
            // ROCA, and the first firmware without it.
            (
                chip(*b"IFX\0", [*b"SLB9", *b"670\0"], 0x0007_003d, 0x000a_e100),
                "IFX SLB9670",
                "7.61.2785.0",
                1,
            ),
            (
                chip(*b"IFX\0", [*b"SLB9", *b"670\0"], 0x0007_003e, 0x000c_3602),
                "IFX SLB9670",
                "7.62.3126.2",
                0,
            ),
            (
                chip(*b"INTC", [*b"Inte", *b"l\0\0\0"], 0x000b_0008, 0x0032_0d47),
                "INTC Intel",
                "11.8.50.3399",
                1,
            ),
            (chip(*b"STM ", [*b"    ", *b"    "], 0x0049_0009, 0x1234_0001), "STM", "73.9.4660.1", 1),
            (chip(*b"NTC\0", [*b"NPCT", *b"75x\0"], 0x0007_0002, 0x0003_0001), "NTC NPCT75x", "7.2.3.1", 1),
            (
                chip(*b"IBM\0", [*b"SW  ", *b" TPM"], 0x2019_1023, 0x0016_3636),
                "IBM SW TPM",
                "20191023.163636",
                0,
            ),
        ] {
            let inventory = of(&fixed, &state(LOCKOUT_AUTH_SET, 0)).unwrap();
            assert_eq!(inventory.product(), product);
            assert_eq!(inventory.versions()[0].value, version);
            assert_eq!(inventory.weaknesses().count(), weak, "{product} {version}");
        }
    }

    #[test]
    fn what_guards_the_keys_is_told() {
        let fixed = chip(*b"IFX\0", [*b"SLB9", *b"670\0"], 0x0007_003e, 0);
        for (permanent, failures, left, set) in [
            (LOCKOUT_AUTH_SET, 0, 32, true),
            (0, 31, 1, false),
            (IN_LOCKOUT | LOCKOUT_AUTH_SET, 0, 0, true),
            (LOCKOUT_AUTH_SET, 40, 0, true),
        ] {
            let inventory = of(&fixed, &state(permanent, failures)).unwrap();
            assert_eq!(inventory.tries()[0].left, Left::Exactly(left));
            assert_eq!(inventory.default_secrets().is_empty(), set);
            assert_eq!(
                inventory.capacity().iter().map(|room| room.free).collect::<Vec<_>>(),
                [Some(3), Some(0)]
            );
        }
        assert!(of(&list(&[]), &state(0, 0)).is_err() && of(&fixed, &list(&[])).is_err());
    }
}
