//! What a token says that is not true, and what it does not say at all: lengths, bits, handles, flags, calls that hang.

use crate::world::Operation;
use crate::world::Operation::{
    Agree, Destroy, Generate, GenerateSecret, Inventory, List, OpenKey, OpenVault, Seal, Sign, SignAnew,
    Unseal,
};

/// The longest length there is.
const ALL_BITS: &str = "18446744073709551615";

/// Which function lies, in what, and how. No attribute is said to be longer than it is when its value is read, but only when its
/// length is: the library below reads on beyond its buffer.
pub(crate) fn lies() -> Vec<(&'static str, Operation, String)> {
    let mut lies = Vec::new();
    let mut lie = |function, operation, hows: &[&str]| {
        lies.extend(hows.iter().map(|how| (function, operation, (*how).to_owned())));
    };
    let most = format!("always length {ALL_BITS}");
    let lengths = [
        "always length 0",
        "always length +1",
        "always length -1",
        "always length 1048576",
        &most,
        "always flip",
    ];
    lie("C_Sign", Sign, &lengths);
    lie("C_Encrypt", Seal, &lengths);
    // Nobody but the token can tell whether a text that it unsealed is the one that was sealed.
    lie("C_Decrypt", Unseal, &lengths);
    lie("C_SignInit", Sign, &["always other-key"]);
    lie("C_EncryptInit", Seal, &["call 1 other-key", "always other-key"]);
    lie("C_DecryptInit", Unseal, &["always other-key"]);
    let counts = ["always length 0", "always length +1", "always length +100", &most, "always flip"];
    lie("C_FindObjects", OpenKey, &counts);
    lie("C_FindObjects", List, &counts);
    lie("C_GetSlotList", OpenVault, &counts);
    lie("C_GetMechanismList", OpenVault, &counts);
    // The library below asks again as long as the list is longer than was said.
    lie("C_GetSlotList", OpenVault, &["always length -1"]);
    let handles = ["call 1 flip", "always flip"];
    lie("C_OpenSession", SignAnew, &handles);
    lie("C_GenerateKeyPair", Generate, &handles);
    lie("C_GenerateKey", GenerateSecret, &handles);
    lie("C_DeriveKey", Agree, &handles);
    // Another label, a PIN of which a try was spent, with one left, locked, an error.
    let flags = [
        "always flip",
        "always set 0x10000",
        "always set 0x20000",
        "always set 0x40000",
        "always set 0x1000000",
    ];
    lie("C_GetTokenInfo", OpenVault, &flags);
    lie("C_GetTokenInfo", Inventory, &flags);
    lie("C_GetTokenInfo", Generate, &["always flip"]);
    // Nobody is logged in; the officer is.
    lie("C_GetSessionInfo", Generate, &["always set 0", "always set 4"]);
    lie("C_GetMechanismInfo", OpenVault, &["always set 0x1"]);
    for attribute in ATTRIBUTES {
        let flip = format!("always attribute {attribute} flip");
        let gone = format!("always attribute {attribute} length {ALL_BITS}");
        lie("C_GetAttributeValue", OpenKey, &[&flip, &gone]);
        lie("C_GetAttributeValue", List, &[&flip, &gone]);
    }
    // Of the agreed secret, when it is read, too: another one, which nobody can tell.
    lie("C_GetAttributeValue", Agree, &["always attribute 0x11 flip", "always attribute 0x11 length 0"]);
    // The curve, the name, the point.
    for attribute in ["0x180", "0x3", "0x181"] {
        lie("C_GetAttributeValue", OpenKey, &[&format!("always attribute {attribute} length 1000000")]);
    }
    lies
}

/// Class, key type, label, id, curve, point, and what a key may.
const ATTRIBUTES: [&str; 12] = [
    "0x0",
    "0x100",
    "0x3",
    "0x102",
    "0x180",
    "0x181",
    "0x108",
    "0x10c",
    "0x103",
    "0x162",
    "0x163",
    "0x40000600",
];

/// What is done while every call of a function is late.
pub(crate) const LATE: [Operation; 8] = [OpenVault, Sign, OpenKey, Agree, Seal, Unseal, Generate, Destroy];
