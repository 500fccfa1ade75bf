//! The backends of this build: the one place where they are wired.

use pkcs11::Pkcs11Backend;
use vault::Registry;
use vault::soft::SoftBackend;

/// Every backend, in the order that `version` lists them.
pub(crate) fn registry() -> Registry {
    let registry = Registry::new().with(SoftBackend).with(Pkcs11Backend::new());
    #[cfg(feature = "yubikey")]
    let registry = registry.with(yubikey_vault::YubiKeyBackend::new());
    registry
}
