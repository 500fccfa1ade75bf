//! Keys in PKCS#11 tokens: made there, used there, never exported.
//!
//! ```text
//! pkcs11:token=ca?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/ca.pin        a vault
//! pkcs11:token=ca;object=issuer                                                                  a key in it
//! ```
//!
//! [`Pkcs11Backend`] opens a [`Pkcs11Vault`]. What stands between a caller and the device:
//!
//! ```text
//! caller ── future ── queue ── worker ── session ── module ── token
//!              │        │         └── session of its own, thrown away after any failure
//!              └────────┴── watchdog: answers at the deadline, writes hanging workers off
//! keeper: logs in, once; looks for a token that went away; never repeats a PIN
//! ```
//!
//! * A module is loaded once for the process, from a path that others cannot write, and shared by its vaults.
//! * Keys get, and have to show, the attributes of a key that cannot be extracted, copied or used for another purpose;
//!   a key that differs is refused and the attribute named.
//! * A token that goes away makes requests fail as [`Unavailable`](::vault::Kind::Unavailable); a second after it is back
//!   they work again. A token that was re-initialised has lost its keys: that is [`NotFound`](::vault::Kind::NotFound),
//!   and nothing is ever made anew by itself.
//! * Whether keys are protected by hardware is what the token says of its mechanisms (`CKF_HW`); software tokens do
//!   not claim it.
//!
//! Two things are out of our hands. The library below copies an agreed secret once into memory that it does not wipe. And it takes
//! a module's word for the length of an attribute that it has just read, so that one that breaks the standard there makes it
//! read beyond its buffer; a module is code in this process in any case, and `module-path` says whose.

mod address;
mod attest;
mod backend;
mod desk;
mod errors;
mod inventory;
mod keeper;
mod keys;
mod make;
mod module;
mod objects;
mod operations;
mod quirks;
mod template;
mod trust;
mod turns;
mod vault;

pub use backend::Pkcs11Backend;
#[cfg(feature = "danger")]
pub use backend::danger;
pub use vault::Pkcs11Vault;
