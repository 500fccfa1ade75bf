//! A YubiKey's PIV application without a YubiKey, for tests: connects to the virtual reader of vsmartcard (`vpcd`) and
//! answers what the real one answers to the commands that are used here.
//!
//! ```text
//! virtual-piv-card ADDRESS DIRECTORY VERSION SERIAL factory|issued
//! ```
//!
//! The card's memory is the file `state.json` in the directory: it lives when the program does not. `out` in the
//! directory takes the card out of the reader, other files make it fail (see `faults`).
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a fixture: what it cannot handle ends it, and the test that started it fails"
)]

mod applet;
mod attest;
mod faults;
mod keys;
mod state;
mod tlv;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use crate::applet::Card;
use crate::faults::Faults;
use crate::state::{Memory, State};

/// What a YubiKey 5 says first (T=1, "YubiKey").
const ATR: [u8; 23] = [
    0x3b, 0xfd, 0x13, 0x00, 0x00, 0x81, 0x31, 0xfe, 0x15, 0x80, 0x73, 0xc0, 0x21, 0xc0, 0x57, 0x59, 0x75,
    0x62, 0x69, 0x4b, 0x65, 0x79, 0x40,
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [address, directory, version, serial, secrets] = args.as_slice() else {
        eprintln!("usage: virtual-piv-card ADDRESS DIRECTORY VERSION SERIAL factory|issued");
        std::process::exit(64);
    };
    let directory = PathBuf::from(directory);
    let version: Vec<u8> = version.split('.').map(|part| part.parse().unwrap()).collect();
    let memory = Memory::at(&directory.join("state.json"));
    let state = memory.load().unwrap_or_else(|| {
        let new = State::new(version.try_into().unwrap(), serial.parse().unwrap());
        if secrets == "issued" { new.issued() } else { new }
    });
    memory.save(&state);
    std::fs::write(directory.join("maker.der"), attest::maker(&state)).unwrap();
    let out = directory.join("out");
    std::thread::spawn(move || {
        while !out.exists() {
            sleep(Duration::from_millis(5));
        }
        // Power is gone, whatever the card was doing.
        std::process::exit(0);
    });
    let mut card = Card::new(state, memory, Faults::in_directory(directory));
    loop {
        if let Ok(reader) = TcpStream::connect(address) {
            card.reset();
            // When the reader goes away, so does the daemon, and another may come.
            let _ = serve(reader, &mut card);
        }
        sleep(Duration::from_millis(20));
    }
}

/// A message is its length in two bytes, then a command; of one byte it is off, on, reset or a request for the ATR.
fn serve(mut reader: TcpStream, card: &mut Card) -> std::io::Result<()> {
    reader.set_nodelay(true)?;
    loop {
        let mut length = [0; 2];
        read(&mut reader, &mut length)?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        read(&mut reader, &mut message)?;
        let answer = match message.as_slice() {
            [0..=2] => {
                card.reset();
                continue;
            }
            [4] => ATR.to_vec(),
            command => card.command(command),
        };
        let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
        reader.write_all(&[&length, answer.as_slice()].concat())?;
    }
}

/// The reader sends length and command apart and waits, by Nagle's algorithm, until the first is acknowledged; our
/// system would put that off by 40 ms.
fn read(reader: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<()> {
    rustix::net::sockopt::set_tcp_quickack(&*reader, true)?;
    reader.read_exact(buffer)
}
