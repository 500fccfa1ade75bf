use super::*;

fn attributes(pairs: &[(&str, &str)]) -> MemberAttributes {
    MemberAttributes::of(pairs.iter().copied()).unwrap()
}

fn who(byte: u8) -> Identifier {
    Identifier::from_bytes([byte; 32])
}

fn repeated(byte: &str) -> String {
    byte.repeat(32)
}

fn hex_of(value: &impl Encode<()>) -> String {
    hex::encode(encode(value))
}

fn read<T: for<'b> Decode<'b, ()>>(hex: &str) -> Option<T> {
    decode(Some(&hex::decode(hex.replace(' ', "")).unwrap()))
}

fn entry(pairs: &[(&str, &str)], added_at: u64, added_by: Option<Identifier>) -> AttributesEntry {
    AttributesEntry { attributes: attributes(pairs), added_at: Timestamp(added_at), added_by }
}

#[test]
fn requests_are_the_bytes_that_are_known() {
    let given = attributes(&[("a", "b")]);
    assert_eq!(hex_of(&NewMember(&who(0x22), &given)), format!("a2015820{}02a161616162", repeated("22")));
    let token = |seconds, uses, details| NewToken { attributes: &given, seconds, uses, details };
    assert_eq!(hex_of(&token(None, None, false)), "a101a161616162");
    assert_eq!(hex_of(&token(Some(600), Some(2), false)), "a301a16161616202190258 0302".replace(' ', ""));
    let code = OneTimeCode::of(Code::from_bytes([0x11; 32]));
    assert_eq!(hex_of(&code), format!("a1015820{}", repeated("11")));
}

#[test]
fn answers_are_the_bytes_that_are_known() {
    let one = entry(&[("k", "v")], 1_700_000_000, None);
    assert_eq!(hex_of(&one), "a201a181186b811876021a6553f100");
    let one = entry(&[("a", "b")], 1, Some(who(0x33)));
    let bytes = format!("a301a1811861811862020104 5820{}", repeated("33")).replace(' ', "");
    assert_eq!(hex_of(&one), bytes);
    assert_eq!(read::<AttributesEntry>(&bytes).as_ref(), Some(&one));
    let list = MemberList(vec![(who(0x22), one)]);
    assert_eq!(hex_of(&list), format!("a15820{}{bytes}", repeated("22")));
    assert_eq!(hex_of(&IdentifierList(vec![who(0x22)])), format!("815820{}", repeated("22")));
}

#[test]
fn what_the_reference_takes_is_taken() {
    let member = repeated("22");
    for text in [
        format!("a2 01 5820{member} 02 a161616162"),
        format!("bf 02 bf61616162ff 01 5820{member} ff"),
        format!("a3 1801 5820{member} 190002 a17801617801 62 1863 80"),
        format!("a2 01 5820{member} 02 a161616162 00ff"),
    ] {
        let add: AddMember = read(&text).unwrap();
        assert_eq!((add.member, add.attributes.len()), (who(0x22), 1), "{text}");
    }
    let token: CreateToken = read("a3 01a0 02f6 03f6").unwrap();
    assert_eq!((token.seconds, token.uses, token.details), (None, None, false));
    assert!(read::<AttributesEntry>("a4 01a0 0201 03f6 04f6").is_some());
    assert!(read::<AttributesEntry>("a3 01bf9f1861ff80ff 0201 031903e8").is_some());
}

#[test]
fn what_is_malformed_is_refused() {
    let member = repeated("22");
    for text in [
        String::new(),
        "80".to_owned(),
        "a102a0".to_owned(),
        format!("a1015820{member}"),
        format!("a201581f{}02a0", &member[2..]),
        format!("a2015820{member}02a141614162"),
        format!("a2015820{member}02a1616161ff"),
        format!("a2015820{member}02bbffffffffffffffff"),
        format!("a2015820{member}02"),
    ] {
        assert!(read::<AddMember>(&text).is_none(), "{text}");
    }
    assert!(read::<CreateToken>("a2 01a0 0220").is_none(), "below zero");
    assert!(read::<OneTimeCode>("a0").is_none() && read::<OneTimeCode>("a10140").is_none());
    for text in ["a1 01a0", "a2 01a141614162 0201", "a2 01a1811901008100 0201", "a2 01a18118ff80 0201"] {
        assert!(read::<AttributesEntry>(text).is_none(), "{text}");
    }
    assert!(read::<MemberList>("bbffffffffffffffff").is_none());
    assert!(read::<IdentifierList>("9bffffffffffffffff").is_none());
}

#[test]
fn floods_are_refused_before_they_are_kept() {
    let mut bytes = hex::decode(format!("a2015820{}02b903e8", repeated("22"))).unwrap();
    for n in 0..1000_u16 {
        bytes.extend([0x62, b'a' + (n / 256) as u8, b'0' + (n % 64) as u8, 0x60]);
    }
    assert!(decode::<AddMember>(Some(&bytes)).is_none());
}

#[test]
fn our_own_fields_round_trip() {
    let ticket = Ticket {
        reference: Reference::from_bytes([7; 8]),
        attributes: attributes(&[("a", "b"), ("c", "")]),
        issued_by: who(1),
        created_at: Timestamp(5),
        expires_at: Timestamp(605),
        uses_left: 3,
    };
    let code = Code::from_bytes([0x11; 32]);
    let all = OneTimeCode { code, key_attestation: Some(vec![1, 2]), ticket: Some(ticket.clone()) };
    let bytes = encode(&all);
    let again: OneTimeCode = decode(Some(&bytes)).unwrap();
    assert_eq!((again.ticket, again.key_attestation), (Some(ticket), Some(vec![1, 2])));
    assert_eq!(*again.code.expose_hex(), repeated("11"));
    let asked = NewToken { attributes: &attributes(&[]), seconds: None, uses: None, details: true };
    assert!(decode::<CreateToken>(Some(&encode(&asked))).unwrap().details);
}
