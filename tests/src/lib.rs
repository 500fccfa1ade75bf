//! What the tests of several crates share: fixtures.

pub mod judge;
pub mod rotation;
pub mod p11kit;
pub mod softhsm;
