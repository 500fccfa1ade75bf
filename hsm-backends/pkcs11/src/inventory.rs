//! What library and token say of themselves, for an inventory.

use cryptoki::context::Info;
use cryptoki::slot::{Limit, TokenInfo};
use vault::{Inventory, Left};

use crate::desk::Bench;
use crate::errors::Trouble;
use crate::quirks;

/// Asks library and token.
pub(crate) fn take(bench: &mut Bench<'_>) -> Result<Inventory, Trouble> {
    let (library, token) = bench.describe()?;
    let well_known = bench.station().keeper.has_well_known_pin();
    Ok(of(&library, &token, well_known))
}

fn of(library: &Info, token: &TokenInfo, well_known_pin: bool) -> Inventory {
    let product = named(token.manufacturer_id(), token.model());
    let mut inventory = Inventory::new(&product).with_version(
        "library",
        &named(library.manufacturer_id(), library.library_description()),
        &quirks::version(library.manufacturer_id(), library.library_version()),
    );
    for (what, version) in [("firmware", token.firmware_version()), ("hardware", token.hardware_version())] {
        // A token that has no such version says 0.0.
        if (version.major(), version.minor()) != (0, 0) {
            let value = quirks::version(token.manufacturer_id(), version);
            inventory = inventory.with_version(what, &product, &value);
        }
    }
    // PKCS#11 v3.1 §3.2 (CK_TOKEN_INFO): the flags tell no numbers but none and one.
    for (secret, locked, last, low) in [
        ("user PIN", token.user_pin_locked(), token.user_pin_final_try(), token.user_pin_count_low()),
        ("SO PIN", token.so_pin_locked(), token.so_pin_final_try(), token.so_pin_count_low()),
    ] {
        let left = if locked {
            Left::Exactly(0)
        } else if last {
            Left::Exactly(1)
        } else if low {
            Left::Fewer
        } else {
            continue;
        };
        inventory = inventory.with_tries(secret, left);
    }
    for (secret, initial) in [
        ("user PIN", token.user_pin_to_be_changed() || well_known_pin),
        ("SO PIN", token.so_pin_to_be_changed()),
    ] {
        if initial {
            inventory = inventory.with_default_secret(secret);
        }
    }
    if token.error_state() {
        inventory = inventory.with_notice("the token failed a self-test and is in its error state");
    }
    if token.write_protected() {
        inventory = inventory.with_notice("the token is write-protected: no key can be made or destroyed");
    }
    let bytes = |number: Option<usize>| number.and_then(|number| u64::try_from(number).ok());
    inventory
        .with_capacity("sessions", free_sessions(token), most_sessions(token))
        .with_capacity(
            "bytes for private objects",
            bytes(token.free_private_memory()),
            bytes(token.total_private_memory()),
        )
        .with_capacity(
            "bytes for public objects",
            bytes(token.free_public_memory()),
            bytes(token.total_public_memory()),
        )
}

fn named(maker: &str, model: &str) -> String {
    format!("{} {}", maker.trim(), model.trim())
}

/// Without a bound there is nothing to tell.
fn most_sessions(token: &TokenInfo) -> Option<u64> {
    match token.max_session_count() {
        Limit::Max(most) => Some(most),
        Limit::Unavailable | Limit::Infinite => None,
    }
}

fn free_sessions(token: &TokenInfo) -> Option<u64> {
    Some(most_sessions(token)?.saturating_sub(token.session_count()?))
}
