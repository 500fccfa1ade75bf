//! What the tests of several modules share.

pub(crate) mod memory;
mod world;

use std::collections::BTreeSet;

pub(crate) use world::*;

const VECTORS: &str = include_str!("../../tests/vectors/channel.txt");

/// The points whose multiples are few (RFC 7748 §7, and their other encodings): whoever agrees with one of them agrees on
/// zero.
pub(crate) const SMALL_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

/// A vector of tests/vectors/channel.txt.
pub(crate) fn known(name: &str) -> &'static str {
    let mut lines = VECTORS.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(found, _)| *found == name).unwrap_or_else(|| panic!("no vector {name}")).1
}

/// An array from hex.
pub(crate) fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    hex::decode(hex).unwrap().try_into().unwrap()
}

/// What the window takes, slowly: everything taken, and the highest.
#[derive(Default)]
pub(crate) struct Naive {
    pub(crate) highest: u64,
    taken: BTreeSet<u64>,
}

impl Naive {
    pub(crate) fn take(&mut self, counter: u64) -> bool {
        let fits = counter.abs_diff(self.highest) <= 32 && !self.taken.contains(&counter);
        if fits {
            self.taken.insert(counter);
            self.highest = self.highest.max(counter);
        }
        fits
    }
}
