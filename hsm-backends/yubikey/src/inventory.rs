//! What a card says of itself, for an inventory.

use ::yubikey::piv::ManagementSlotId;
use vault::{Inventory, Left};

use crate::card::{Card, SECRETS};
use crate::errors::Done;
use crate::keys;
use crate::slots::Slot;

/// What the PIV application is part of; it does not tell the model.
const PRODUCT: &str = "Yubico YubiKey";

/// Asks the card. It costs no try of any secret.
pub(crate) fn take(card: &mut Card) -> Done<Inventory> {
    let mut inventory =
        Inventory::new(PRODUCT).with_version("firmware", PRODUCT, &card.version()?.to_string());
    for (slot, secret, _) in SECRETS {
        // Only wrong PINs and PUKs are counted.
        if slot != ManagementSlotId::Management {
            inventory = inventory.with_tries(secret, Left::Exactly(card.tries_left(slot)?.into()));
        }
        if card.has_factory_secret(slot)? {
            inventory = inventory.with_default_secret(secret);
        }
    }
    let ledger = card.ledger()?;
    let (mut free, mut all) = (0, 0);
    for slot in Slot::all() {
        all += 1;
        free += u64::from(keys::is_free(card, &ledger, slot)?);
    }
    Ok(inventory.with_capacity("key slots", Some(free), Some(all)))
}
