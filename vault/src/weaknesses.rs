//! Weaknesses of devices and their software that are publicly known, as data: which versions have them, and what to do.
//!
//! A backend names the parts of its device ([`Inventory::with_version`](crate::Inventory::with_version)); what a part
//! calls itself and its version decide. Versions are compared number by number. A range ends with the version that has
//! the repair. Makers number the products of one family apart, so one weakness can have several ranges.
//!
//! The vocabulary: `of` is maker and model as the part tells them, with TPM makers by their registered four letters
//! (`IFX`, `STM`, `INTC`, `NTC`); `what` is `firmware`, `library`, or `libtpms` for the library behind a TPM in software, whose
//! version no TPM tells: that is for who knows it.

use crate::inventory::Version;

/// Something that is wrong with certain versions of a product.
#[derive(Debug, PartialEq, Eq)]
pub struct Weakness {
    /// The number it is known under, and its nickname if it has one.
    pub id: &'static str,
    /// What can happen.
    pub text: &'static str,
    /// What to do.
    pub fix: &'static str,
    affected: &'static [Affected],
}

#[derive(Debug, PartialEq, Eq)]
struct Affected {
    what: &'static str,
    /// Words that the part's name has, in lower case.
    of: &'static str,
    from: &'static [u32],
    until: &'static [u32],
}

const fn of(what: &'static str, of: &'static str, from: &'static [u32], until: &'static [u32]) -> Affected {
    Affected { what, of, from, until }
}

/// The table.
pub(crate) const WEAKNESSES: &[Weakness] = &[
    Weakness {
        id: "CVE-2017-15361 (ROCA)",
        text: "RSA keys made on it can be factored",
        fix: "update the firmware, or exchange the device, and replace every RSA key made on it",
        affected: &[
            of("firmware", "ifx", &[4, 0], &[4, 34]),
            of("firmware", "ifx", &[4, 40], &[4, 43]),
            of("firmware", "ifx", &[5, 0], &[5, 62]),
            of("firmware", "ifx", &[6, 0], &[6, 43]),
            of("firmware", "ifx", &[7, 0], &[7, 62]),
            of("firmware", "ifx", &[133, 0], &[133, 33]),
            of("firmware", "ifx", &[149, 0], &[149, 33]),
            of("firmware", "yubikey", &[4, 2, 6], &[4, 3, 5]),
        ],
    },
    Weakness {
        id: "CVE-2024-45678 (EUCLEAK, YSA-2024-03)",
        text: "whoever holds the device and measures it can extract an ECDSA key",
        fix: "keep it under lock, or exchange it for one whose firmware has the repair: it cannot be updated",
        affected: &[of("firmware", "yubikey", &[4, 0], &[5, 7]), of("firmware", "yubihsm", &[2, 0], &[2, 4])],
    },
    Weakness {
        id: "YSA-2019-02",
        text: "the first random numbers after power-up are predictable in part, those of ECDSA signatures among them",
        fix: "exchange the device and replace the keys used on it",
        affected: &[of("firmware", "yubikey", &[4, 4, 2], &[4, 4, 5])],
    },
    Weakness {
        id: "CVE-2019-16863 (TPM-FAIL)",
        text: "the time that ECDSA signatures take gives the key away",
        fix: "update the firmware, then replace the ECDSA keys",
        affected: &[
            of("firmware", "stm", &[71, 0], &[71, 16]),
            of("firmware", "stm", &[73, 0], &[73, 20]),
            of("firmware", "stm", &[74, 0], &[74, 20]),
        ],
    },
    Weakness {
        id: "CVE-2019-11090 (TPM-FAIL)",
        text: "the time that ECDSA signatures take gives the key away",
        fix: "update the firmware of the platform, then replace the ECDSA keys",
        affected: &[
            of("firmware", "intc", &[11, 0], &[11, 8, 70]),
            of("firmware", "intc", &[11, 10], &[11, 11, 70]),
            of("firmware", "intc", &[11, 20], &[11, 22, 70]),
            of("firmware", "intc", &[12, 0], &[12, 0, 45]),
            of("firmware", "intc", &[14, 0], &[14, 0, 10]),
        ],
    },
    Weakness {
        id: "CVE-2020-25082",
        text: "whoever holds the device and measures it can extract an ECDSA key",
        fix: "update the firmware, then replace the ECDSA keys",
        affected: &[of("firmware", "ntc", &[7, 2, 0, 1], &[7, 2, 2])],
    },
    Weakness {
        id: "CVE-2026-6923",
        text: "whoever holds the device and measures it can extract an ECDH key",
        fix: "update the firmware, then replace the keys for agreement",
        affected: &[of("firmware", "ntc", &[7, 0], &[7, 2, 4])],
    },
    Weakness {
        id: "CVE-2023-1017, CVE-2023-1018",
        text: "a command with a truncated parameter reads and writes beyond the TPM's buffer",
        fix: "update libtpms",
        affected: &[of("libtpms", "libtpms", &[0, 1], &[0, 9, 6])],
    },
    Weakness {
        id: "CVE-2025-2884",
        text: "a command that asks for an HMAC with the wrong kind of key reads beyond the TPM's buffer",
        fix: "update the firmware, or libtpms",
        affected: &[
            of("firmware", "ifx slb9672", &[15, 0], &[15, 23]),
            of("libtpms", "libtpms", &[0, 1], &[0, 9, 7]),
            of("libtpms", "libtpms", &[0, 10], &[0, 10, 1]),
        ],
    },
    Weakness {
        id: "CVE-2026-21444",
        text: "chained symmetric encryption continues with the wrong initialisation vector",
        fix: "update libtpms",
        affected: &[of("libtpms", "libtpms", &[0, 10], &[0, 10, 2])],
    },
    Weakness {
        id: "CVE-2020-24387, CVE-2020-24388",
        text: "the library trusts lengths that the device sends",
        fix: "update the library",
        affected: &[of("library", "yubihsm", &[1, 0], &[2, 0, 3])],
    },
    Weakness {
        id: "CVE-2021-27217, CVE-2021-32489",
        text: "the library does not check lengths of what it sends and receives",
        fix: "update the library",
        affected: &[of("library", "yubihsm", &[1, 0], &[2, 1])],
    },
    Weakness {
        id: "CVE-2023-39908",
        text: "reading an object's attributes can return memory that was used for something else",
        fix: "update the library",
        affected: &[of("library", "yubihsm", &[1, 0], &[2, 4, 1])],
    },
    Weakness {
        id: "CVE-2023-40660",
        text: "a process that gives an empty PIN uses a token that another process has logged in to",
        fix: "update the library",
        affected: &[of("library", "opensc", &[0, 1], &[0, 24])],
    },
    Weakness {
        id: "CVE-2024-45615 to CVE-2024-45620",
        text: "answers of a forged card make the library use memory that nobody wrote",
        fix: "update the library",
        affected: &[of("library", "opensc", &[0, 1], &[0, 26])],
    },
    Weakness {
        id: "CVE-2021-3798",
        text: "an agreement with an invalid point gives parts of the key away",
        fix: "update openCryptoki, then replace the keys for agreement",
        affected: &[of("library", "opencryptoki", &[2, 0], &[3, 17])],
    },
];

impl Weakness {
    /// Whether this version of this part has it. A version that is none is not judged.
    pub(crate) fn affects(&self, version: &Version) -> bool {
        let Some(numbers) = numbers(&version.value) else { return false };
        let name = version.of.to_lowercase();
        let words: Vec<_> = name.split(|c: char| !c.is_alphanumeric()).collect();
        self.affected.iter().any(|affected| {
            affected.what == version.what
                && affected.of.split(' ').all(|word| words.contains(&word))
                && !less(&numbers, affected.from)
                && less(&numbers, affected.until)
        })
    }
}

/// The numbers of `7.62.3126.0`. What follows the last number, as in `5.4.3-alpha`, does not count.
fn numbers(version: &str) -> Option<Vec<u32>> {
    let end = version.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(version.len());
    let (numbers, _) = version.split_at_checked(end)?;
    numbers.trim_end_matches('.').split('.').map(|number| number.parse().ok()).collect()
}

/// Whether one version comes before another. Numbers that are not there are zero.
fn less(one: &[u32], other: &[u32]) -> bool {
    let length = one.len().max(other.len());
    let padded = |version: &[u32]| -> Vec<u32> {
        version.iter().copied().chain(std::iter::repeat(0)).take(length).collect()
    };
    padded(one) < padded(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Inventory;

    fn flagged(what: &'static str, of: &str, value: &str) -> Vec<&'static str> {
        let inventory = Inventory::new("").with_version(what, of, value);
        inventory.weaknesses().map(|(weakness, _)| weakness.id).collect()
    }

    /// Each device as it calls itself, the last version that is weak, and the first that is not.
    const KNOWN: &[(&str, &str, &str, &str, &str)] = &[
        ("CVE-2017-15361", "firmware", "IFX SLB9655", "4.33.4", "4.34"),
        ("CVE-2017-15361", "firmware", "IFX SLB9655", "4.42", "4.43.257.0"),
        ("CVE-2017-15361", "firmware", "IFX SLB9665", "5.61.2785.0", "5.62.3126.0"),
        ("CVE-2017-15361", "firmware", "IFX SLB9670", "6.42", "6.43"),
        ("CVE-2017-15361", "firmware", "IFX SLB9670", "7.61.2785.0", "7.62.3126.0"),
        ("CVE-2017-15361", "firmware", "IFX SLB9645", "133.32", "133.33"),
        ("CVE-2017-15361", "firmware", "IFX SLB9660", "149.32", "149.33"),
        ("CVE-2017-15361", "firmware", "Yubico YubiKey", "4.3.4", "4.3.5"),
        ("CVE-2024-45678", "firmware", "Yubico YubiKey", "5.4.3", "5.7.0"),
        ("CVE-2024-45678", "firmware", "Yubico (www.yubico.com) YubiHSM", "2.3.2", "2.4.0"),
        ("YSA-2019-02", "firmware", "Yubico YubiKey", "4.4.4", "4.4.5"),
        ("CVE-2019-16863", "firmware", "STM ST33TPHF2ESPI", "71.12", "71.16"),
        ("CVE-2019-16863", "firmware", "STM ST33TPHF2EI2C", "73.9", "73.65"),
        ("CVE-2019-16863", "firmware", "STM", "74.16", "74.64"),
        ("CVE-2019-11090", "firmware", "INTC Intel", "11.8.50.3399", "11.8.70.3626"),
        ("CVE-2019-11090", "firmware", "INTC Intel", "11.22.65", "11.22.70"),
        ("CVE-2019-11090", "firmware", "INTC Intel", "12.0.35.1427", "12.0.45.1509"),
        ("CVE-2019-11090", "firmware", "INTC Intel", "14.0.5", "14.0.10"),
        ("CVE-2020-25082", "firmware", "NTC NPCT75x", "7.2.1.0", "7.2.2.0"),
        ("CVE-2026-6923", "firmware", "NTC NPCT75x", "7.2.3.1", "7.2.4.0"),
        ("CVE-2023-1017", "libtpms", "libtpms", "0.9.5", "0.9.6"),
        ("CVE-2025-2884", "libtpms", "libtpms", "0.9.6", "0.9.7"),
        ("CVE-2025-2884", "libtpms", "libtpms", "0.10.0", "0.10.1"),
        ("CVE-2025-2884", "firmware", "IFX SLB9672", "15.22.16832.0", "15.23.17664.0"),
        ("CVE-2026-21444", "libtpms", "libtpms", "0.10.1", "0.10.2"),
        ("CVE-2020-24387", "library", "Yubico (www.yubico.com) YubiHSM PKCS#11 Library", "2.0.2", "2.0.3"),
        ("CVE-2021-27217", "library", "Yubico (www.yubico.com) YubiHSM PKCS#11 Library", "2.0.3", "2.1.0"),
        ("CVE-2023-39908", "library", "Yubico (www.yubico.com) YubiHSM PKCS#11 Library", "2.4.0", "2.4.1"),
        ("CVE-2023-40660", "library", "OpenSC Project OpenSC smartcard framework", "0.23", "0.24"),
        ("CVE-2024-45615", "library", "OpenSC Project OpenSC smartcard framework", "0.25", "0.26"),
        ("CVE-2021-3798", "library", "IBM openCryptoki", "3.16", "3.17"),
    ];

    #[test]
    fn every_weakness_is_found_until_its_repair() {
        for (id, what, of, weak, repaired) in KNOWN {
            let has = |version| flagged(what, of, version).iter().any(|found| found.starts_with(id));
            assert!(has(weak), "{id}: {of} {weak}");
            assert!(!has(repaired), "{id}: {of} {repaired}");
        }
        for weakness in WEAKNESSES {
            assert!(
                KNOWN.iter().any(|(id, ..)| weakness.id.starts_with(id)),
                "{} has no example",
                weakness.id
            );
        }
        assert!(WEAKNESSES.len() >= 12);
    }

    #[test]
    fn nobody_else_is_flagged() {
        for (what, of, version) in [
            ("library", "SoftHSM Implementation of PKCS11", "2.6"),
            ("firmware", "SoftHSM project SoftHSM v2", "2.6"),
            ("firmware", "IBM SW TPM", "20.19"),
            ("firmware", "Yubico YubiKey", "5.7.4"),
            ("hardware", "Yubico YubiKey", "5.4.3"),
            ("firmware", "INTC Intel", "7.2.1.0"),
            ("firmware", "Yubico YubiKey", "unknown"),
            ("firmware", "Yubico YubiKey", ""),
            ("firmware", "Yubico YubiKey NEO", "3.4.9"),
            ("firmware", "Yubico YubiKey", "99999999999999999999.1"),
        ] {
            assert_eq!(flagged(what, of, version), [""; 0], "{what} {of} {version}");
        }
    }

    #[test]
    fn ranges_are_ranges() {
        for weakness in WEAKNESSES {
            assert!(!weakness.text.ends_with('.') && !weakness.fix.ends_with('.'), "{}", weakness.id);
            for range in weakness.affected {
                assert!(less(range.from, range.until), "{}: {range:?}", weakness.id);
                assert_eq!(range.of, range.of.to_lowercase());
            }
        }
    }

    #[test]
    fn versions_are_compared_by_number() {
        assert_eq!(numbers("5.4.3-alpha"), Some(vec![5, 4, 3]));
        assert_eq!(numbers("2."), Some(vec![2]));
        assert_eq!(numbers("v2"), None);
        assert!(less(&[7, 9], &[7, 10]) && less(&[7], &[7, 0, 1]) && !less(&[7, 0], &[7]));
    }
}
