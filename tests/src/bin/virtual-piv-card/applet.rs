//! The PIV application as a host sees it: commands of NIST SP 800-73-4 part 2 and the further ones of YubiKeys.

use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};

use crate::attest;
use crate::faults::Faults;
use crate::keys;
use crate::state::{Memory, Slot, State};
use crate::tlv::{find, parse, tlv};

const PIV: [u8; 5] = [0xa0, 0, 0, 3, 8];
const MANAGEMENT_KEY: u8 = 0x9b;
const OK: u16 = 0x9000;
const WRONG_LENGTH: u16 = 0x6700;
const SECURITY: u16 = 0x6982;
const CONDITIONS: u16 = 0x6985;
const WRONG_DATA: u16 = 0x6a80;
const NO_FILE: u16 = 0x6a82;
const NO_REFERENCE: u16 = 0x6a88;
const NO_INSTRUCTION: u16 = 0x6d00;
/// A command or an answer in one piece has at most this much data.
const PIECE: usize = 256;

type Answer = Result<Vec<u8>, u16>;

/// The card while it has power.
pub(crate) struct Card {
    state: State,
    memory: Memory,
    faults: Faults,
    selected: bool,
    verified: bool,
    /// Since the last use of a key: what `always` asks for.
    fresh: bool,
    admin: bool,
    witness: Option<Vec<u8>>,
    chain: Vec<u8>,
    pending: Vec<u8>,
}

impl Card {
    pub(crate) fn new(state: State, memory: Memory, faults: Faults) -> Self {
        Self {
            state,
            memory,
            faults,
            selected: false,
            verified: false,
            fresh: false,
            admin: false,
            witness: None,
            chain: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// Power off, power on or reset: what was proved is forgotten.
    pub(crate) fn reset(&mut self) {
        self.deselect();
        self.chain.clear();
        self.pending.clear();
    }

    fn deselect(&mut self) {
        self.selected = false;
        self.verified = false;
        self.fresh = false;
        self.admin = false;
        self.witness = None;
    }

    /// Answers one command.
    pub(crate) fn command(&mut self, apdu: &[u8]) -> Vec<u8> {
        let [class, instruction, p1, p2, rest @ ..] = apdu else {
            return WRONG_LENGTH.to_be_bytes().to_vec();
        };
        let data = match rest {
            [] | [_] => &[][..],
            [length, data @ ..] if data.len() >= usize::from(*length) => &data[..usize::from(*length)],
            _ => return WRONG_LENGTH.to_be_bytes().to_vec(),
        };
        if *instruction != 0xc0 {
            self.pending.clear();
            if class & 0x10 != 0 {
                self.chain.extend(data);
                return OK.to_be_bytes().to_vec();
            }
            let mut whole = std::mem::take(&mut self.chain);
            whole.extend(data);
            match self.execute(*instruction, *p1, *p2, &whole) {
                Ok(answer) => self.pending = self.faults.bend(*instruction, answer),
                Err(status) => return status.to_be_bytes().to_vec(),
            }
        }
        let rest = self.pending.split_off(self.pending.len().min(PIECE));
        let mut piece = std::mem::replace(&mut self.pending, rest);
        let status = match self.pending.len() {
            0 => OK,
            left => 0x6100 | u16::try_from(left.min(0xff)).unwrap(),
        };
        piece.extend(status.to_be_bytes());
        piece
    }

    fn execute(&mut self, instruction: u8, p1: u8, p2: u8, data: &[u8]) -> Answer {
        self.faults.before(instruction);
        if instruction == 0xa4 {
            return self.select(data);
        }
        if !self.selected {
            return Err(NO_INSTRUCTION);
        }
        let answer = match instruction {
            0xfd => Ok(self.state.version.to_vec()),
            0xf8 => Ok(self.state.serial.to_be_bytes().to_vec()),
            0x20 => self.verify(p2, data),
            0x24 => self.change_reference(p2, data),
            0x2c => self.unblock(data),
            0x47 => self.generate(p2, data),
            0x87 if p2 == MANAGEMENT_KEY => self.authenticate(p1, data),
            0x87 => self.use_key(p1, p2, data),
            0xcb => self.get_object(data),
            0xdb => self.put_object(data),
            0xf7 => self.metadata(p2),
            0xf9 => self.attest(p1),
            0xfa => self.set_tries(p1, p2),
            0xfb => self.start_over(),
            0xff => self.set_management(data),
            _ => Err(NO_INSTRUCTION),
        };
        self.memory.save(&self.state);
        answer
    }

    fn select(&mut self, application: &[u8]) -> Answer {
        if !application.starts_with(&PIV) {
            return Err(NO_FILE);
        }
        // Selecting it again forgets what was proved, as on the real one.
        self.deselect();
        self.selected = true;
        let version = tlv(&[0x4f], &[0, 0, 0x10, 0, 1, 0]);
        let authority = tlv(&[0x79], &tlv(&[0x4f], &PIV));
        Ok(tlv(&[0x61], &[version, authority].concat()))
    }

    fn verify(&mut self, reference: u8, pin: &[u8]) -> Answer {
        if reference != 0x80 {
            return Err(NO_REFERENCE);
        }
        if pin.is_empty() {
            return if self.verified { Ok(Vec::new()) } else { Err(self.state.pin.refusal()) };
        }
        let checked = self.state.pin.check(pin);
        self.verified = checked.is_ok();
        self.fresh = self.verified;
        checked.map(|()| Vec::new())
    }

    fn change_reference(&mut self, reference: u8, data: &[u8]) -> Answer {
        let (old, new) = halves(data)?;
        let which = match reference {
            0x80 => &mut self.state.pin,
            0x81 => &mut self.state.puk,
            _ => return Err(NO_REFERENCE),
        };
        which.check(old)?;
        which.value = new;
        Ok(Vec::new())
    }

    fn unblock(&mut self, data: &[u8]) -> Answer {
        let (puk, new) = halves(data)?;
        self.state.puk.check(puk)?;
        self.state.pin.value = new;
        self.state.pin.left = self.state.pin.most;
        Ok(Vec::new())
    }

    fn set_tries(&mut self, pin: u8, puk: u8) -> Answer {
        if !self.admin || !self.verified {
            return Err(SECURITY);
        }
        // The real one goes back to the default PIN and PUK, too.
        let fresh = State::new(self.state.version, self.state.serial);
        (self.state.pin, self.state.puk) = (fresh.pin, fresh.puk);
        (self.state.pin.most, self.state.pin.left) = (pin, pin);
        (self.state.puk.most, self.state.puk.left) = (puk, puk);
        Ok(Vec::new())
    }

    fn start_over(&mut self) -> Answer {
        if self.state.pin.left != 0 || self.state.puk.left != 0 {
            return Err(CONDITIONS);
        }
        let old = std::mem::replace(&mut self.state, State::new([0; 3], 0));
        let fresh = State::new(old.version, old.serial);
        self.state = State { maker: old.maker, attestation: old.attestation, ..fresh };
        Ok(Vec::new())
    }

    fn set_management(&mut self, data: &[u8]) -> Answer {
        if !self.admin {
            return Err(SECURITY);
        }
        let [algorithm, MANAGEMENT_KEY, length, key @ ..] = data else { return Err(WRONG_DATA) };
        let wanted = match algorithm {
            0x03 => 24,
            0x08 if self.state.version >= [5, 4, 2] => 16,
            0x0a if self.state.version >= [5, 4, 2] => 24,
            0x0c if self.state.version >= [5, 4, 2] => 32,
            _ => return Err(WRONG_DATA),
        };
        if key.len() != wanted || usize::from(*length) != wanted {
            return Err(WRONG_LENGTH);
        }
        self.state.management.algorithm = *algorithm;
        self.state.management.key = key.to_vec();
        Ok(Vec::new())
    }

    /// Mutual authentication with the management key: the host shows that it can decrypt, then the card that it can
    /// encrypt.
    fn authenticate(&mut self, algorithm: u8, data: &[u8]) -> Answer {
        if algorithm != self.state.management.algorithm {
            return Err(WRONG_DATA);
        }
        let template = template(data)?;
        let block = if algorithm == 0x03 { 8 } else { 16 };
        match (find(&template, 0x80), find(&template, 0x81)) {
            (Some([]), _) => {
                let mut witness = vec![0; block];
                getrandom::fill(&mut witness).unwrap();
                let shown = self.encrypt(&witness);
                self.witness = Some(witness);
                Ok(tlv(&[0x7c], &tlv(&[0x80], &shown)))
            }
            (Some(witness), Some(challenge)) if challenge.len() == block => {
                if self.witness.take().as_deref() != Some(witness) {
                    return Err(SECURITY);
                }
                self.admin = true;
                Ok(tlv(&[0x7c], &tlv(&[0x82], &self.encrypt(challenge))))
            }
            _ => Err(WRONG_DATA),
        }
    }

    fn encrypt(&self, block: &[u8]) -> Vec<u8> {
        macro_rules! by {
            ($cipher:ty) => {{
                let cipher = <$cipher>::new_from_slice(&self.state.management.key).unwrap();
                let mut block = block.try_into().unwrap();
                cipher.encrypt_block(&mut block);
                block.to_vec()
            }};
        }
        match self.state.management.algorithm {
            0x03 => by!(des::TdesEde3),
            0x08 => by!(aes::Aes128),
            0x0a => by!(aes::Aes192),
            _ => by!(aes::Aes256),
        }
    }

    fn generate(&mut self, slot: u8, data: &[u8]) -> Answer {
        if !self.admin {
            return Err(SECURITY);
        }
        if !is_slot(slot) {
            return Err(NO_REFERENCE);
        }
        let objects = parse(data).ok_or(WRONG_DATA)?;
        let template = parse(find(&objects, 0xac).ok_or(WRONG_DATA)?).ok_or(WRONG_DATA)?;
        let byte = |tag| find(&template, tag).and_then(|value| value.first().copied()).filter(|b| *b != 0);
        let algorithm = byte(0x80).ok_or(WRONG_DATA)?;
        let has_curve25519 = self.state.version >= [5, 7, 0];
        if algorithm != keys::P256 && !(has_curve25519 && matches!(algorithm, keys::ED25519 | keys::X25519)) {
            return Err(WRONG_DATA);
        }
        let usual = match slot {
            0x9c => 3,
            0x9e => 1,
            _ => 2,
        };
        let made = Slot {
            algorithm,
            secret: keys::random_scalar(),
            pin_policy: byte(0xaa).unwrap_or(usual),
            touch_policy: byte(0xab).unwrap_or(1),
            origin: 1,
        };
        let public = keys::public(&made);
        self.state.slots.insert(slot, made);
        Ok(tlv(&[0x7f, 0x49], &tlv(&[0x86], &public)))
    }

    fn use_key(&mut self, algorithm: u8, number: u8, data: &[u8]) -> Answer {
        let slot = self.state.slots.get(&number).ok_or(WRONG_DATA)?;
        if slot.algorithm != algorithm {
            return Err(WRONG_DATA);
        }
        let allowed = match slot.pin_policy {
            1 => true,
            3 => self.fresh,
            _ => self.verified,
        };
        if !allowed {
            return Err(SECURITY);
        }
        let template = template(data)?;
        if slot.touch_policy > 1 {
            self.faults.wait_for_touch().ok_or(SECURITY)?;
        }
        let result = match (find(&template, 0x81), find(&template, 0x85)) {
            (Some(input), None) => keys::sign(slot, input),
            (None, Some(peer)) => keys::agree(slot, peer),
            _ => None,
        };
        self.fresh = false;
        Ok(tlv(&[0x7c], &tlv(&[0x82], &result.ok_or(WRONG_DATA)?)))
    }

    fn metadata(&self, number: u8) -> Answer {
        let policy = |pin, touch| tlv(&[2], &[pin, touch]);
        let is_default = tlv(&[5], &[u8::from(self.state.has_default(number))]);
        match number {
            MANAGEMENT_KEY => {
                Ok([tlv(&[1], &[self.state.management.algorithm]), policy(0, 1), is_default].concat())
            }
            0x80 | 0x81 => {
                let reference = if number == 0x80 { &self.state.pin } else { &self.state.puk };
                Ok([tlv(&[1], &[0xff]), is_default, tlv(&[6], &[reference.most, reference.left])].concat())
            }
            _ => {
                let slot = self.state.slots.get(&number).ok_or(NO_REFERENCE)?;
                Ok([
                    tlv(&[1], &[slot.algorithm]),
                    policy(slot.pin_policy, slot.touch_policy),
                    tlv(&[3], &[slot.origin]),
                    tlv(&[4], &tlv(&[0x86], &keys::public(slot))),
                ]
                .concat())
            }
        }
    }

    fn attest(&self, number: u8) -> Answer {
        let slot = self.state.slots.get(&number).filter(|slot| slot.origin == 1).ok_or(NO_REFERENCE)?;
        Ok(attest::slot(&self.state, number, slot))
    }

    fn get_object(&self, data: &[u8]) -> Answer {
        let id = object_id(&parse(data).ok_or(WRONG_DATA)?)?;
        if id == "5fff01" {
            let certificate = tlv(&[0x70], &attest::card(&self.state));
            return Ok(tlv(&[0x53], &[certificate, tlv(&[0x71], &[0]), tlv(&[0xfe], &[])].concat()));
        }
        self.state.objects.get(&id).map(|value| tlv(&[0x53], value)).ok_or(NO_FILE)
    }

    fn put_object(&mut self, data: &[u8]) -> Answer {
        if !self.admin {
            return Err(SECURITY);
        }
        let objects = parse(data).ok_or(WRONG_DATA)?;
        let id = object_id(&objects)?;
        match find(&objects, 0x53).ok_or(WRONG_DATA)? {
            [] => self.state.objects.remove(&id),
            value => self.state.objects.insert(id, value.to_vec()),
        };
        Ok(Vec::new())
    }
}

fn object_id(objects: &[(u16, Vec<u8>)]) -> Result<String, u16> {
    find(objects, 0x5c).map(hex::encode).ok_or(WRONG_DATA)
}

fn template(data: &[u8]) -> Result<Vec<(u16, Vec<u8>)>, u16> {
    let objects = parse(data).ok_or(WRONG_DATA)?;
    parse(find(&objects, 0x7c).ok_or(WRONG_DATA)?).ok_or(WRONG_DATA)
}

fn halves(data: &[u8]) -> Result<(&[u8], [u8; 8]), u16> {
    let (old, new) = data.split_at_checked(8).ok_or(WRONG_LENGTH)?;
    Ok((old, new.try_into().map_err(|_| WRONG_LENGTH)?))
}

fn is_slot(number: u8) -> bool {
    matches!(number, 0x9a | 0x9c | 0x9d | 0x9e | 0x82..=0x95)
}
