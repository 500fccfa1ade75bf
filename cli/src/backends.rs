//! The backends of this build: the one place where they are wired.

use aws_kms::AwsKmsBackend;
use pkcs11::Pkcs11Backend;
use vault::Registry;
use vault::soft::SoftBackend;

/// Every backend, in the order that `version` lists them.
pub(crate) fn registry() -> Registry {
    let registry = Registry::new().with(SoftBackend).with(Pkcs11Backend::new());
    #[cfg(feature = "tpm")]
    let registry = registry.with(tpm::TpmBackend::new());
    #[cfg(not(feature = "tpm"))]
    let registry = registry.without(
        vault::Scheme::Tpm,
        "build with the feature `tpm`, one of the default ones: it needs libtss2-dev, which scripts/setup installs",
    );
    #[cfg(feature = "yubikey")]
    let registry = registry.with(yubikey_vault::YubiKeyBackend::new());
    #[cfg(not(feature = "yubikey"))]
    let registry = registry.without(
        vault::Scheme::YubiKey,
        "build with the feature `yubikey`, one of the default ones: it needs libpcsclite-dev, which scripts/setup installs",
    );
    registry.with(AwsKmsBackend::new())
}
