//! Keys in the PIV application of a YubiKey: made there, used there, never exported.
//!
//! ```text
//! yubikey:serial=12345678?pin-source=file:/etc/piv.pin       a vault
//! yubikey:serial=12345678;slot=9c;name=issuer                a key in it
//! ```
//!
//! [`YubiKeyBackend`] opens a [`YubiKeyVault`]; [`CardAccess`] changes the secrets of a card. What stands between a caller and the card:
//!
//! ```text
//! caller ── future ── queue ── worker ── connection ── pcscd ── card
//!              │        │         └── made anew, once, when the card was reset or away; the PIN is entered again
//!              └────────┴── watchdog: answers at the deadline, writes a hanging worker off
//! ```
//!
//! * Names live on the card itself, in a small data object (the *ledger*), so that another computer finds them. A slot
//!   that holds a key of others is never written to.
//! * A key is destroyed by making another over it, since no firmware below 5.7 can delete one.
//! * The last try of a PIN or PUK is never spent, and a PIN that the card refused is not sent again.
//! * A card with the PIN, PUK or management key of the factory is refused, unless the URI allows it.
//!
//! One thing is out of our hands: the driver keeps a copy of the PIN for as long as the connection lives, and copies of a
//! management key while it is shown or set, and wipes none of them.

mod access;
mod address;
mod attest;
mod backend;
mod card;
mod desk;
mod ecies;
mod errors;
mod inventory;
mod keys;
mod ledger;
mod management;
mod quirks;
mod slots;
mod station;
mod vault;

pub use access::{CardAccess, Secret, Standing};
pub use backend::YubiKeyBackend;
pub use management::{ManagementAlgorithm, ManagementKey};
pub use vault::YubiKeyVault;
