//! What more than one of these tests needs.

use home::rotation::{Moment, Witness};
use home::{IdentityRecord, Name};
use identity::{PurposeKeyAttestation, Timestamp};
use vault::{Pending, Signer};

pub(crate) const NOW: Timestamp = Timestamp(1_790_000_000);

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Dies when a moment is reached: a panic stands for the crash.
pub(crate) struct DieAt(pub(crate) Moment);

impl Witness for DieAt {
    fn take_over<'a>(
        &'a self,
        _: &'a IdentityRecord,
        _: Option<(Signer, PurposeKeyAttestation)>,
    ) -> Pending<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn reached(&self, moment: Moment) {
        assert!(moment != self.0, "dies here");
    }
}
