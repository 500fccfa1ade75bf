//! A rotation that is cut off at a moment, in the test's own process: what a killed program leaves, without the program.
#![allow(clippy::unwrap_used, reason = "a fixture that fails fails its test")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use home::rotation::{self, Moment, Plan, Witness};
use home::{Home, IdentityRecord, Vaults};
use identity::{PurposeKeyAttestation, SystemClock};
use vault::soft::SoftBackend;
use vault::{Nobody, Pending, Registry, Signer, block_on};

/// Dies when a moment is reached, as a process does that is killed.
struct DieAt(Moment);

impl Witness for DieAt {
    fn take_over<'a>(
        &'a self,
        _: &'a IdentityRecord,
        _: Option<(Signer, PurposeKeyAttestation)>,
    ) -> Pending<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn reached(&self, moment: Moment) {
        assert!(moment != self.0, "killed");
    }
}

/// Cuts off a rotation of an identity in this home, whose vaults are software.
///
/// # Panics
/// When the rotation does not get as far as that moment.
pub fn cut_off(home: &Path, identity: &str, at: Moment) {
    let home = Home::open(home).unwrap();
    let vaults = Vaults::new(home.clone(), Registry::new().with(SoftBackend), Arc::new(Nobody));
    let writer = home.write().unwrap();
    let (plan, witness) = (Plan::within(identity), DieAt(at));
    let rotation = rotation::rotate(&writer, &vaults, &plan, &witness, &SystemClock);
    assert!(catch_unwind(AssertUnwindSafe(|| block_on(rotation))).is_err());
}
