//! Identities, attestations and credentials: the published crates take what we make, we take what they make, and of what
//! somebody altered or put together wrongly both say the same.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, in its helpers too"
)]

mod altered;
mod compare;
mod made;
mod ours;
mod pkcs11;
#[path = "../policy/random.rs"]
#[expect(dead_code, reason = "policies need more of it")]
mod random;
#[path = "../../../../identity/tests/suite/raw.rs"]
#[expect(dead_code, reason = "identity's own tests need more of it")]
mod raw;
#[path = "../../../../identity/tests/suite/seeds.rs"]
#[expect(dead_code, reason = "identity's own tests need more of it")]
mod seeds;
#[path = "../../../src/softhsm.rs"]
#[expect(dead_code, unreachable_pub, reason = "a fixture of the product's workspace")]
mod softhsm;
mod theirs;
