use proptest::prelude::*;

use super::*;

fn hex_of(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

fn bytes(hex: &str) -> Vec<u8> {
    hex::decode(hex.replace(' ', "")).unwrap()
}

/// A header as it stands, in its envelope.
fn enclosed(header: &str) -> Vec<u8> {
    to_bare(&bytes(header))
}

#[test]
fn requests_are_the_bytes_that_are_known() {
    let id = 0x0102_0304;
    for (request, known) in [
        (
            Request { id, path: "/", method: Some(Method::Post), body: None, key: None },
            "0ea4011a0102030402612f030104f4",
        ),
        (
            Request { id, path: "/x", method: Some(Method::Get), body: Some(&[1, 2, 3]), key: None },
            "12a4011a0102030402622f78030004f5010203",
        ),
        (
            Request { id: 1, path: "/", method: Some(Method::Post), body: Some(&[]), key: None },
            "0aa4010102612f030104f5",
        ),
        (
            Request { id: 1, path: "/members", method: Some(Method::Get), body: None, key: None },
            "11a4010102682f6d656d62657273030004f4",
        ),
        // An idempotency key comes after everything that the reference has.
        (
            Request { id: 1, path: "/", method: Some(Method::Post), body: Some(&[7]), key: Some("k") },
            "10a5010102612f030104f519010061 6b 07",
        ),
        // A method that is not known is not there.
        (Request { id: 1, path: "", method: None, body: None, key: None }, "07a301010260 04f4"),
    ] {
        let known = bytes(known);
        assert_eq!(hex_of(&request.encode()), hex_of(&known));
        assert_eq!(Request::decode(&known).unwrap(), request);
    }
}

#[test]
fn responses_are_the_bytes_that_are_known() {
    let (id, re) = (0x0a0b_0c0d, 0x0102_0304);
    let done = Response { id, re, status: Some(Status::Ok), body: None };
    let known = bytes("12a4011a0a0b0c0d021a010203040318c804f4");
    assert_eq!(hex_of(&done.encode()), hex_of(&known));
    assert_eq!(Response::decode(&known).unwrap(), done);

    let asked = Request { id: re, path: "/", method: Some(Method::Post), body: None, key: None };
    let error = ErrorBody::of(&asked, "unauthorized member");
    let body = error.encode();
    let refused = Response { id, re, status: Some(Status::Forbidden), body: Some(&body) };
    let known = bytes(
        "2ea4011a0a0b0c0d021a010203040319019304f5a301612f02010373756e617574686f72697a6564206d656d626572",
    );
    assert_eq!(hex_of(&refused.encode()), hex_of(&known));
    let read = Response::decode(&known).unwrap();
    assert_eq!((read, read.error()), (refused, error));
    assert!(!read.is_ok() && done.is_ok());

    let unknown = ErrorBody::of(&asked, "unknown path").encode();
    assert_eq!(hex_of(&unknown), "a301612f0201036c756e6b6e6f776e2070617468");
}

#[test]
fn strings_are_the_bytes_that_are_known() {
    assert_eq!(hex_of(&to_bare(b"Hello Ockam!")), "0c48656c6c6f204f636b616d21");
    assert_eq!(from_bare(&bytes("0c48656c6c6f204f636b616d21")), Some(&b"Hello Ockam!"[..]));
    assert_eq!(hex_of(&to_bare(&[7; 275])[..2]), "9302");
}

#[test]
fn lengths_have_ten_bytes_at_most() {
    // A longer form than need be is taken, and what comes after the end.
    for (given, read) in
        [("8100 61 62", Some("61")), ("01 61 ff", Some("61")), ("8080808080808080 8000", Some(""))]
    {
        assert_eq!(from_bare(&bytes(given)).map(hex_of).as_deref(), read, "{given}");
    }
    for bad in [
        "",
        "80",
        "01",
        "02 61",
        "ffffffffffffffffff01",    // 2^64 - 1
        "ffffffffffffffffff02",    // more than that
        "80808080808080808080 00", // eleven bytes
        "808080808080808080 8100",
    ] {
        assert_eq!(from_bare(&bytes(bad)), None, "{bad}");
    }
}

#[test]
fn what_the_reference_takes_is_taken() {
    let plain = Request { id: 1, path: "/", method: Some(Method::Post), body: None, key: None };
    for taken in [
        "a4 0101 02612f 0301 04f4",
        "a4 04f4 0301 02612f 0101",                           // in another order
        "bf 0101 02612f 0301 04f4 ff",                        // a map of indefinite length
        "a4 18011a00000001 19000278012f 1a000000031801 04f4", // wide integers
        "a5 0101 02612f 0301 04f4 1899 82820101f6",           // a field that nobody knows
        "a5 0109 0101 02612f 0301 04f4",                      // one twice: the last counts
    ] {
        assert_eq!(Request::decode(&enclosed(taken)).unwrap(), plain, "{taken}");
    }
    for unknown in ["a4 0101 02612f 0305 04f4", "a4 0101 02612f 03f6 04f4", "a3 0101 02612f 04f4"] {
        assert_eq!(Request::decode(&enclosed(unknown)).unwrap().method, None, "{unknown}");
    }
    // Bytes after the header are a body only when one is announced, and bytes after the envelope are nothing.
    let read = |text: &str| Request::decode(&enclosed(text)).unwrap().body.map(hex_of);
    assert_eq!(read("a4 0101 02612f 0301 04f4 aabb"), None);
    assert_eq!(read("a4 0101 02612f 0301 04f5 aabb").as_deref(), Some("aabb"));
    assert_eq!(read("a4 0101 02612f 0301 04f5").as_deref(), Some(""));
    let mut after = plain.encode();
    after.extend([1, 2, 3]);
    assert_eq!(Request::decode(&after).unwrap(), plain);
}

#[test]
fn what_is_no_request_is_refused() {
    for refused in [
        "",
        "80",                                        // an array
        "a3 02612f 0301 04f4",                       // no id
        "a3 0101 0301 04f4",                         // no path
        "a3 0101 02612f 0301",                       // not said whether there is a body
        "a4 01f6 02612f 0301 04f4",                  // null for an id
        "a4 01 1b0000000100000000 02612f 0301 04f4", // an id of more than 32 bits
        "a4 0101 02412f 0301 04f4",                  // bytes for a path
        "a4 0101 0261ff 0301 04f4",                  // no UTF-8
        "a4 0101 02612f 036147 04f4",                // text for a method
        "a4 0101 02612f 0301 0401",                  // a number for a boolean
        "a4 0101 02612f 0301",                       // an end before the end
        "a4 2001 02612f 0301 04f4",                  // a key below zero
        "bf 0101 02612f 0301 04f4",                  // no end
        "a4 0101 027affffffff 2f",                   // a length that nothing has
        "bbffffffffffffffff",
    ] {
        assert!(Request::decode(&enclosed(refused)).is_err(), "{refused}");
    }
    assert!(Request::decode(&[]).is_err() && Response::decode(&[]).is_err());
    assert!(Response::decode(&enclosed("a3 0101 0318c8 04f4")).is_err(), "nothing says which request");
}

#[test]
fn what_is_said_of_a_failure_is_read_in_any_form() {
    // Whether or not a body is announced.
    let said = |status: &str, rest: &str| {
        let payload = enclosed(&format!("a4 0105 0201 03{status} 04f4 {rest}"));
        Response::decode(&payload).unwrap().error()
    };
    let message = |words: &str| ErrorBody { message: Some(words.into()), ..ErrorBody::default() };
    assert_eq!(said("190193", "6368756d"), message("hum"));
    assert_eq!(said("190193", "4368756d"), message("hum"));
    assert_eq!(said("190193", "a1036368756d"), message("hum"));
    assert_eq!(said("1901ad", "a1036368756d"), message("hum"), "a status that nobody knows is no success");
    assert_eq!(said("190193", "a3 01f6 0207 036368756d"), message("hum"));
    for nothing in ["", "a0", "42ffff", "82", "a10301", "a1", "18"] {
        assert_eq!(said("1901f4", nothing), ErrorBody::default(), "{nothing}");
    }
    let plain = Response { id: 5, re: 1, status: Some(Status::Ok), body: None };
    assert_eq!(Response::decode(&enclosed("a4 0105 0201 0318c8 04f4 00")).unwrap(), plain);
}

#[test]
fn causes_are_followed_and_not_for_ever() {
    let nested = |depth: usize| {
        (0..depth).fold(ErrorBody::default(), |cause, n| ErrorBody {
            message: Some(n.to_string()),
            cause: (n > 0).then(|| Box::new(cause)),
            ..ErrorBody::default()
        })
    };
    let error = nested(MAX_CAUSES + 1);
    assert_eq!(ErrorBody::decode(&error.encode()), Some(error.clone()));
    assert_eq!(error.to_string(), "8: 7: 6: 5: 4: 3: 2: 1: 0");
    assert_eq!(
        ErrorBody::decode(&nested(MAX_CAUSES + 3).encode()).unwrap().to_string(),
        "10: 9: 8: 7: 6: 5: 4: 3: 2"
    );
    let endless = [0xa1, 0x04].repeat(1_000_000);
    assert_eq!(ErrorBody::decode(&endless), None);
}

#[test]
fn our_own_fields_are_skipped_by_whoever_does_not_know_them() {
    let error = ErrorBody {
        message: Some("hum".into()),
        code: Some("rate-limited".into()),
        retry_after: Some(60),
        ..ErrorBody::default()
    };
    let encoded = error.encode();
    assert_eq!(hex_of(&encoded), "a3036368756d1901006c726174652d6c696d69746564190101183c");
    assert_eq!(ErrorBody::decode(&encoded), Some(error));
}

#[test]
fn paths_have_segments() {
    let segments = |path| Request { id: 1, path, method: None, body: None, key: None }.segments();
    assert_eq!(segments(""), [""]);
    assert_eq!(segments("/"), [""]);
    assert_eq!(segments("//members"), ["members"]);
    assert_eq!(segments("members/I69"), ["members", "I69"]);
    assert_eq!(segments("/members/"), ["members", ""]);
}

#[test]
fn bodies_are_not_printed() {
    let request = Request::new(Method::Post, "/", Some(b"secret")).unwrap();
    let response = Response::new(request.id, Status::Ok, Some(b"secret")).unwrap();
    assert_ne!((request.id, response.id), (0, 0));
    let printed = format!("{request:?} {response:?}");
    assert!(printed.contains("Post") && !printed.contains("secret") && !printed.contains("115"));
}

fn method() -> impl Strategy<Value = Option<Method>> {
    prop::option::of(prop::sample::select(Method::ALL.to_vec()))
}

fn error() -> impl Strategy<Value = ErrorBody> {
    let one = (any::<Option<String>>(), method(), any::<Option<String>>(), any::<Option<u64>>());
    let one = one.prop_map(|(path, method, message, retry_after)| ErrorBody {
        code: path.clone().filter(|path| path.len() > 3),
        path,
        method,
        message,
        cause: None,
        retry_after,
    });
    prop::collection::vec(one, 1..=MAX_CAUSES).prop_map(|errors| {
        let below =
            errors.into_iter().reduce(|cause, error| ErrorBody { cause: Some(Box::new(cause)), ..error });
        below.unwrap()
    })
}

proptest! {
    #[test]
    fn requests_round_trip(id: u32, path: String, method in method(), body: Option<Vec<u8>>) {
        let request = Request { id, path: &path, method, body: body.as_deref(), key: None };
        let payload = request.encode();
        prop_assert_eq!(Request::decode(&payload).unwrap(), request);
    }

    #[test]
    fn responses_round_trip(
        id: u32,
        re: u32,
        status in prop::sample::select(Status::ALL.to_vec()),
        body in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let response = Response { id, re, status: Some(status), body: Some(&body) };
        let payload = response.encode();
        prop_assert_eq!(Response::decode(&payload).unwrap(), response);
    }

    #[test]
    fn errors_round_trip(error in error()) {
        prop_assert_eq!(ErrorBody::decode(&error.encode()), Some(error));
    }

    #[test]
    fn any_bytes_are_survived(mut bytes: Vec<u8>) {
        let _ = (Request::decode(&bytes), Response::decode(&bytes), ErrorBody::decode(&bytes));
        bytes = to_bare(&bytes);
        let _ = (Request::decode(&bytes), Response::decode(&bytes));
        prop_assert_eq!(from_bare(&bytes).map(to_bare), Some(bytes));
    }
}
