//! Secrets, and looking for them: what a home holds is opened by the words of docs/formats.md alone, and searched for in
//! every form in which it could have been written down by mistake.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a fixture that fails fails its test"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

/// Secrets by what they are.
pub type Secrets = BTreeMap<String, Vec<u8>>;

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no `{field}` in {value}"))
}

fn unseal(key: &[u8], sealed: &str, fields: &[&[u8]]) -> Vec<u8> {
    let sealed = hex::decode(sealed).unwrap();
    let (nonce, rest) = sealed.split_first_chunk::<12>().unwrap();
    let (body, tag) = rest.split_last_chunk::<16>().unwrap();
    let associated: Vec<u8> = fields
        .iter()
        .flat_map(|field| [&u64::try_from(field.len()).unwrap().to_be_bytes()[..], *field].concat())
        .collect();
    let mut plain = body.to_vec();
    Aes256Gcm::new_from_slice(key)
        .unwrap()
        .decrypt_inout_detached(
            &Nonce::from(*nonce),
            &associated,
            plain.as_mut_slice().into(),
            &Tag::from(*tag),
        )
        .expect("docs/formats.md says how it is sealed");
    plain
}

/// What a software vault holds, by `what/path`: key-encryption key, data key, keys. `known` opens it when a key of
/// another vault locks it; one that a passphrase locks is opened by its data key, when that is known.
///
/// # Panics
/// When its files are not as docs/formats.md says.
pub fn of_vault(directory: &Path, known: &mut Secrets) {
    let header = json(&directory.join("vault.json"));
    let (id, lock) = (text(&header, "vault_id"), &header["lock"]);
    let one = 1_u32.to_be_bytes();
    let mut fields: Vec<&[u8]> =
        vec![b"ockam-kms software vault data key", &one, id.as_bytes(), text(lock, "type").as_bytes()];
    let data_name = format!("data key/{id}");
    if text(lock, "type") != "passphrase" {
        let kek = if text(lock, "type") == "key-file" {
            let path = directory.join(text(lock, "path"));
            let kek = hex::decode(std::fs::read_to_string(path).unwrap().trim()).unwrap();
            known.insert(format!("kek/{id}"), kek.clone());
            kek
        } else {
            fields.extend([text(lock, "vault_id").as_bytes(), text(lock, "key").as_bytes()]);
            let name = text(lock, "key").strip_prefix("soft:name=").unwrap();
            known[&format!("key/{}/{name}", text(lock, "vault_id"))].clone()
        };
        let data_key = unseal(&kek, text(&header, "data_key"), &fields);
        known.insert(data_name.clone(), data_key);
    }
    let data_key = known[&data_name].clone();
    for file in std::fs::read_dir(directory.join("keys")).unwrap() {
        let key = json(&file.unwrap().path());
        let purpose = match text(&key, "algorithm") {
            "x25519" | "ecdh-p256" => "agreement",
            "aes256-gcm" => "sealing",
            _ => "signing",
        };
        let public = key["public"].as_str().map(|public| hex::decode(public).unwrap()).unwrap_or_default();
        let fields: [&[u8]; 8] = [
            b"ockam-kms software vault key",
            &one,
            id.as_bytes(),
            text(&key, "key_id").as_bytes(),
            text(&key, "name").as_bytes(),
            text(&key, "algorithm").as_bytes(),
            purpose.as_bytes(),
            &public,
        ];
        let secret = unseal(&data_key, text(&key, "sealed"), &fields);
        known.insert(format!("key/{id}/{}", text(&key, "name")), secret);
    }
}

/// Every form in which a secret could have been written, each with its name.
#[must_use]
pub fn forms(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let numbers =
        |between: &str| secret.iter().map(ToString::to_string).collect::<Vec<_>>().join(between).into_bytes();
    let percent = |byte: &u8| match byte {
        b if b.is_ascii_alphanumeric() || b"-._~".contains(b) => char::from(*b).to_string(),
        b => format!("%{b:02X}"),
    };
    let mut forms = vec![
        ("raw", secret.to_vec()),
        ("hex", hex::encode(secret).into_bytes()),
        ("upper-case hex", hex::encode_upper(secret).into_bytes()),
        ("URL-encoded", secret.iter().map(percent).collect::<String>().into_bytes()),
        ("a list of numbers", numbers(", ")),
        ("a JSON array", numbers(",")),
        ("escaped", secret.escape_ascii().to_string().into_bytes()),
        ("reversed", secret.iter().rev().copied().collect()),
    ];
    // Base64 of something longer that begins 0, 1 or 2 bytes before it: but for the digits that the rest has a part in.
    for before in 0..3 {
        for engine in [STANDARD.encode([&vec![0; before], secret].concat()), {
            URL_SAFE_NO_PAD.encode([&vec![0; before], secret].concat())
        }] {
            let whole =
                engine.trim_end_matches('=').len() - usize::from(!(before + secret.len()).is_multiple_of(3));
            let start = (before * 8).div_ceil(6);
            forms.push(("base64", engine.as_bytes()[start..whole].to_vec()));
        }
    }
    forms
}

/// Needles to look for, found by their first bytes.
#[derive(Debug, Default)]
pub struct Needles {
    by_start: BTreeMap<[u8; 4], Vec<(String, Vec<u8>)>>,
    starts: Vec<bool>,
}

impl Needles {
    /// All forms of all secrets.
    ///
    /// # Panics
    /// For a secret that is so short that it could be anywhere.
    #[must_use]
    pub fn of(secrets: &Secrets) -> Self {
        let mut needles = Self { by_start: BTreeMap::new(), starts: vec![false; 1 << 16] };
        for (name, secret) in secrets {
            assert!(secret.len() >= 12, "`{name}` is too short to be looked for");
            for (form, bytes) in forms(secret) {
                let start: [u8; 4] = bytes[..4].try_into().unwrap();
                needles.starts[usize::from(u16::from_be_bytes([start[0], start[1]]))] = true;
                needles.by_start.entry(start).or_default().push((format!("{name} ({form})"), bytes));
            }
        }
        needles
    }

    /// Which of them are in this.
    #[must_use]
    pub fn found_in(&self, hay: &[u8]) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for (place, start) in hay.windows(4).enumerate() {
            if !self.starts[usize::from(u16::from_be_bytes([start[0], start[1]]))] {
                continue;
            }
            for (name, needle) in self.by_start.get(start).into_iter().flatten() {
                if hay[place..].starts_with(needle) && !found.contains(name) {
                    found.push(name.clone());
                }
            }
        }
        found
    }
}

/// Every file below a directory.
///
/// # Panics
/// When one cannot be looked at.
#[must_use]
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.symlink_metadata().unwrap().file_type();
        if kind.is_dir() {
            found.extend(files(&path));
        } else if kind.is_file() {
            found.push(path);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_in_any_form_is_found() {
        let secret: Vec<u8> = (0..32).map(|n: u8| n.wrapping_mul(37).wrapping_add(200)).collect();
        let needles = Needles::of(&[("s".to_owned(), secret.clone())].into());
        assert!(needles.found_in(&[0; 1000]).is_empty());
        for (form, bytes) in forms(&secret) {
            let hay = [b"before ", bytes.as_slice(), b" after"].concat();
            assert_eq!(needles.found_in(&hay).len(), 1, "{form}");
        }
        for before in 0..5_u8 {
            let text = STANDARD.encode([&vec![before; before.into()], secret.as_slice(), b"after"].concat());
            assert_eq!(needles.found_in(text.as_bytes()), ["s (base64)"], "{before}");
        }
        assert_eq!(needles.found_in(format!("{secret:?}").as_bytes()), ["s (a list of numbers)"]);
        assert!(needles.found_in(&secret[1..]).is_empty());
    }
}
