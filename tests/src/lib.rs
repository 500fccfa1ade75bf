//! What the tests of several crates share: fixtures.

pub mod softhsm;
