//! Looking for a key in this process's own memory. What is looked for is never itself there: only masked.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::process::Command;

use crate::keys::Wiped;

const MASK: u8 = 0x5a;

const ALONE: &str = "OCKAM_KMS_TEST_ALONE";

/// Whether this process runs no test but this one: other threads would have the same keys. If not, it starts one that does,
/// and waits until that has passed.
pub(crate) fn alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let status = child.args([test, "--exact", "--nocapture"]).env(ALONE, "1").status().unwrap();
    assert!(status.success(), "`{test}` failed in a process of its own: {status}");
    false
}

/// Key bytes behind a mask.
#[derive(Clone, Copy)]
pub(crate) struct Masked([u8; 32]);

impl Masked {
    /// From hex, which is not what is looked for either.
    pub(crate) fn of(hex: &str) -> Self {
        let digit = |at: usize| (hex.as_bytes()[at] as char).to_digit(16).unwrap() as u8;
        Self(std::array::from_fn(|at| ((digit(2 * at) << 4) | digit(2 * at + 1)) ^ MASK))
    }

    /// The key, for as long as it is needed.
    pub(crate) fn key(&self) -> Wiped {
        let mut key = Wiped::new();
        for (to, from) in key.0.iter_mut().zip(self.0) {
            *to = from ^ MASK;
        }
        key
    }

    /// How often it lies in memory that this process can write.
    pub(crate) fn copies(&self) -> usize {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let mut memory = fs::File::open("/proc/self/mem").unwrap();
        let mut buffer = vec![0; 1 << 16];
        let start = buffer.as_ptr() as u64;
        let own = start..start + buffer.len() as u64;
        let mut found = 0;
        for line in maps.lines().filter(|line| line.contains(" rw")) {
            let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
            let (mut from, to) =
                (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
            while from < to {
                // Not where it is put: what was read would be read again.
                if own.contains(&from) {
                    from = own.end;
                    continue;
                }
                let end = if from < own.start { to.min(own.start) } else { to };
                let length = buffer.len().min(end.saturating_sub(from) as usize);
                memory.seek(SeekFrom::Start(from)).unwrap();
                let Ok(()) = memory.read_exact(&mut buffer[..length]) else { break };
                found += self.found_in(&buffer[..length]);
                buffer.fill(0);
                // With an overlap, for what lies across.
                from += if length < buffer.len() { length as u64 } else { (length - 31) as u64 };
            }
        }
        found
    }

    fn found_in(&self, bytes: &[u8]) -> usize {
        let first = self.0[0] ^ MASK;
        let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == first);
        let is_here = |at: usize| {
            bytes
                .get(at..at + 32)
                .is_some_and(|window| window.iter().zip(self.0).all(|(a, b)| *a ^ MASK == b))
        };
        starts.filter(|(at, _)| is_here(*at)).count()
    }
}
