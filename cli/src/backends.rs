//! The backends of this build: the one place where they are wired.

use aws_kms::AwsKmsBackend;
use pkcs11::Pkcs11Backend;
use vault::Registry;
use vault::soft::SoftBackend;

/// Every backend, in the order that `version` lists them.
pub(crate) fn registry() -> Registry {
    Registry::new().with(SoftBackend).with(Pkcs11Backend::new()).with(AwsKmsBackend::new())
}
