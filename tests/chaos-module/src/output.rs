//! What a function returns through its pointers, and how it is made a lie.

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_GCM_PARAMS, CK_MECHANISM, CK_MECHANISM_INFO, CK_SESSION_INFO, CK_TOKEN_INFO, CK_ULONG,
    CK_UNAVAILABLE_INFORMATION, CKM_AES_GCM,
};

use crate::script::{Action, Lie};

/// Where a function puts its answer. The pointers are the caller's; any of them may be null.
#[derive(Clone, Copy)]
pub(crate) enum Output {
    /// Nothing that could be a lie.
    Nothing,
    /// Bytes, and how many there are.
    Bytes(*mut u8, *mut CK_ULONG),
    /// Numbers (slots, mechanisms, objects), and how many there are.
    Numbers(*mut CK_ULONG, *mut CK_ULONG),
    /// One number.
    Number(*mut CK_ULONG),
    Attributes(*mut CK_ATTRIBUTE, CK_ULONG),
    Token(*mut CK_TOKEN_INFO),
    Session(*mut CK_SESSION_INFO),
    Mechanism(*mut CK_MECHANISM_INFO),
    /// The nonce of a mechanism, which some modules write themselves.
    Nonce(*mut CK_MECHANISM),
}

/// What a nonce of the module's own is made of.
const OWN_NONCE: u8 = 0xa5;

impl Output {
    /// Falsifies what was returned.
    ///
    /// # Safety
    /// The pointers are those of a call that has returned: each is null or good for what its variant says.
    pub(crate) unsafe fn falsify(self, action: &Action) {
        match (self, action) {
            (Self::Attributes(template, count), Action::LieOf(attribute, lie)) => {
                for place in 0..count {
                    let Ok(place) = usize::try_from(place) else { return };
                    // SAFETY: the template has `count` entries, by the contract of C_GetAttributeValue.
                    let entry = unsafe { template.add(place).as_mut() };
                    let told =
                        |entry: &&mut CK_ATTRIBUTE| entry.type_ == *attribute && !is_fatal(entry, *lie);
                    if let Some(entry) = entry.filter(told) {
                        // SAFETY: where the entry has a value, it is as long as the entry says.
                        unsafe { Self::Bytes(entry.pValue.cast(), &raw mut entry.ulValueLen).lie(*lie) };
                    }
                }
            }
            // SAFETY: as promised by the caller.
            (output, Action::Lie(lie)) => unsafe { output.lie(*lie) },
            _ => {}
        }
    }

    /// Writes a nonce over the caller's, before the call, as modules do that take none.
    ///
    /// # Safety
    /// The pointer is that of a call: null, or a mechanism whose parameter is what its type says.
    pub(crate) unsafe fn write_nonce(self) {
        let Self::Nonce(mechanism) = self else { return };
        // SAFETY: as promised by the caller; null is looked for.
        let Some(mechanism) = (unsafe { mechanism.as_ref() }).filter(|it| it.mechanism == CKM_AES_GCM) else {
            return;
        };
        // SAFETY: the parameter of this mechanism is of this type (PKCS#11 v3.1 §6.13.3).
        let Some(parameters) = (unsafe { mechanism.pParameter.cast::<CK_GCM_PARAMS>().as_ref() }) else {
            return;
        };
        if let (false, Ok(length)) = (parameters.pIv.is_null(), usize::try_from(parameters.ulIvLen)) {
            // SAFETY: the nonce is as long as the parameter says.
            unsafe { parameters.pIv.write_bytes(OWN_NONCE, length) };
        }
    }

    /// # Safety
    /// As for [`falsify`](Self::falsify).
    unsafe fn lie(self, lie: Lie) {
        // SAFETY (of every block below): the pointers are good or null, by the contract of this function, and null is
        // looked for.
        match (self, lie) {
            (Self::Bytes(_, length) | Self::Numbers(_, length), Lie::Length(change)) => {
                // SAFETY: see above.
                if let Some(length) = unsafe { length.as_mut() } {
                    *length = change.of(*length);
                }
            }
            (Self::Bytes(bytes, length), Lie::Flip) => {
                // SAFETY: see above.
                if let (Some(byte), Some(1..)) = unsafe { (bytes.as_mut(), length.as_ref()) } {
                    *byte ^= 1;
                }
            }
            (Self::Numbers(numbers, length), Lie::Flip) => {
                // SAFETY: see above.
                if let (Some(number), Some(1..)) = unsafe { (numbers.as_mut(), length.as_ref()) } {
                    *number ^= 1;
                }
            }
            (Self::Number(number), Lie::Flip) => {
                // SAFETY: see above.
                if let Some(number) = unsafe { number.as_mut() } {
                    *number ^= 1;
                }
            }
            (Self::Token(token), lie) => {
                // SAFETY: see above.
                let Some(token) = (unsafe { token.as_mut() }) else { return };
                match lie {
                    Lie::Set(bits) => token.flags |= bits,
                    Lie::Flip => token.label = token.label.map(|byte| byte ^ 1),
                    Lie::Length(change) => token.ulMaxPinLen = change.of(token.ulMaxPinLen),
                }
            }
            (Self::Session(session), Lie::Set(state)) => {
                // SAFETY: see above.
                if let Some(session) = unsafe { session.as_mut() } {
                    session.state = state;
                }
            }
            (Self::Mechanism(mechanism), Lie::Set(bits)) => {
                // SAFETY: see above.
                if let Some(mechanism) = unsafe { mechanism.as_mut() } {
                    mechanism.flags |= bits;
                }
            }
            _ => {}
        }
    }
}

/// Whether the library that reads a value would read on beyond its buffer.
fn is_fatal(entry: &CK_ATTRIBUTE, lie: Lie) -> bool {
    let Lie::Length(change) = lie else { return false };
    let told = change.of(entry.ulValueLen);
    !entry.pValue.is_null() && told > entry.ulValueLen && told != CK_UNAVAILABLE_INFORMATION
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Change;

    fn told(output: Output, lie: Lie) {
        // SAFETY: the pointers of these tests are of values that live, or null.
        unsafe { output.falsify(&Action::Lie(lie)) };
    }

    #[test]
    fn lies_are_told() {
        let (mut bytes, mut length) = ([2_u8, 0], 2);
        told(Output::Bytes(bytes.as_mut_ptr(), &raw mut length), Lie::Flip);
        told(Output::Bytes(std::ptr::null_mut(), &raw mut length), Lie::Length(Change::More(1)));
        assert_eq!((bytes, length), ([3, 0], 3));
        let mut number = 4;
        told(Output::Number(&raw mut number), Lie::Flip);
        told(Output::Number(std::ptr::null_mut()), Lie::Flip);
        assert_eq!(number, 5);
        let mut token = CK_TOKEN_INFO { flags: 1, ..CK_TOKEN_INFO::default() };
        told(Output::Token(&raw mut token), Lie::Set(0x40000));
        assert_eq!(token.flags, 0x40001);
    }

    #[test]
    fn one_attribute_of_several_is_a_lie() {
        let mut values = [[0_u8; 1]; 2];
        let [one, two] = &mut values;
        let entry = |type_, value: &mut [u8; 1]| CK_ATTRIBUTE {
            type_,
            pValue: value.as_mut_ptr().cast(),
            ulValueLen: 1,
        };
        let mut template = [entry(0x103, one), entry(0x162, two)];
        let output = Output::Attributes(template.as_mut_ptr(), 2);
        // SAFETY: the template and its values live.
        unsafe { output.falsify(&Action::LieOf(0x162, Lie::Flip)) };
        assert_eq!(values, [[0], [1]]);
    }
}
