//! No flow that is open to people the authority does not know has a state that one of them could hold or take from another:
//! while A is in the middle of each, B does the same to its end, and then A ends too.
//!
//! What is not open to them (members, tickets, the operator's socket) has no such state either: each command is one
//! transaction. Rotation is asked for through the operator's socket only.

use authority::authz::Role;
use authority::http::{Options, ROUTES, Route};
use authority::ticket::NewTicket;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::common::{Person, World, attributes, memory, person};
use crate::load::{sample, until};
use crate::net::{ByHand, RequestKey, Site, read, send};

/// The routes that somebody unknown gets an answer from.
fn open() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().filter(|route| route.action.is_none_or(|action| action.role() <= Role::Anyone))
}

/// A request of this person to an open route, in bytes.
async fn request(site: &Site, person: &Person, route: &Route, code: &str) -> Vec<u8> {
    if !route.is_signed() {
        let head =
            format!("{} {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", route.method, route.path);
        return head.into_bytes();
    }
    let key = RequestKey::of(&site.world, person).await;
    let body = match route.path {
        "/v1/enrol" => format!(r#"{{"code":"{code}"}}"#),
        other => panic!("{other} is open to everybody and not among the flows of this test: add it"),
    };
    let request = ByHand::new(site, &person.identity, &key, route.method, route.path, body.as_bytes());
    [request.head().await.as_bytes(), &request.body].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_one_is_in_the_middle_another_gets_through_and_then_the_first() {
    // Few places, so that one who holds more than one is noticed.
    let options = Options { connections: 2, limit_loopback: true, ..Options::default() };
    let site = Site::of(World::new(memory).await, options).await;
    let mut flows = Vec::new();
    for route in open() {
        flows.push(route.path);
        let new = NewTicket::new(attributes(&[]), None, Some(2)).unwrap();
        let made = site.world.authority.make_ticket(&site.world.enroller().await, new).await.unwrap();
        let code = made.code.expose_hex();
        let (a, b) = (person(&site.world.vault).await, person(&site.world.vault).await);
        let (of_a, of_b) =
            (request(&site, &a, route, code.as_str()).await, request(&site, &b, route, code.as_str()).await);
        // At every stage of A's request: nothing but a connection, half of its head, all but the last byte.
        for much in [0, of_a.len() / 2, of_a.len() - 1] {
            // Whoever has left would count for one more, and A's place would be given to B.
            until("the places are free", 20, || sample(&site, "ockam_kms_connections") == 0.0).await;
            let mut pending = TcpStream::connect(site.addr()).await.unwrap();
            pending.write_all(&of_a[..much]).await.unwrap();
            let status = send(site.addr(), &of_b).await.status;
            // B's second and third requests are the first one over again.
            let expected = if !route.is_signed() {
                200
            } else if much == 0 {
                204
            } else {
                401
            };
            assert_eq!(status, expected, "{} at {much}", route.path);
            if much + 1 == of_a.len() {
                pending.write_all(&of_a[much..]).await.unwrap();
                let status = read(&mut pending).await.status;
                assert_eq!(status, if route.is_signed() { 204 } else { 200 }, "{} of A", route.path);
            }
        }
    }
    assert_eq!(flows, ["/healthz", "/readyz", "/openapi.json", "/v1/issuer", "/v1/enrol"]);
}

/// One who fails, and fails again, takes nothing from another: neither a place, nor the ticket, nor the right to try.
#[tokio::test(flavor = "multi_thread")]
async fn one_who_fails_takes_nothing_from_another() {
    let site = Site::new().await;
    let new = NewTicket::new(attributes(&[]), None, None).unwrap();
    let made = site.world.authority.make_ticket(&site.world.enroller().await, new).await.unwrap();
    let code = made.code.expose_hex();
    let (a, b) = (person(&site.world.vault).await, person(&site.world.vault).await);
    let key = RequestKey::of(&site.world, &a).await;
    let body = format!(r#"{{"code":"{}"}}"#, code.as_str());
    let good = ByHand::new(&site, &a.identity, &key, "POST", "/v1/enrol", body.as_bytes());
    // B sends A's request with another body, in A's name by B's key, with A's nonce, and with a wrong ticket.
    let of_b = RequestKey::of(&site.world, &b).await;
    let mut altered = good.clone();
    altered.body = format!(r#"{{"code":"{}"}}"#, "0".repeat(64)).into_bytes();
    let in_a_name = ByHand { signer: of_b.signer.clone(), ..good.clone() };
    let mut same_nonce = ByHand::new(&site, &b.identity, &of_b, "POST", "/v1/enrol", altered.body.as_slice());
    same_nonce.nonce = good.nonce.clone();
    for (request, expected) in [(&altered, 401), (&in_a_name, 401), (&same_nonce, 403), (&same_nonce, 401)] {
        assert_eq!(request.send(site.addr()).await.status, expected);
    }
    assert_eq!(good.send(site.addr()).await.status, 204);
}
