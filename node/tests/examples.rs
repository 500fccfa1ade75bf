//! The examples do what they say.

#![allow(dead_code, clippy::duplicate_mod, clippy::unwrap_used, reason = "examples have a main of their own")]

#[path = "../examples/credentials.rs"]
mod credentials;
#[path = "../examples/initiator.rs"]
mod initiator;
#[path = "../examples/middle.rs"]
mod middle;
#[path = "../examples/responder.rs"]
mod responder;

#[tokio::test]
async fn an_initiator_reaches_a_responder_over_two_hops() {
    let any = "127.0.0.1:0".parse().unwrap();
    let (responder, at) = responder::start(any).await.unwrap();
    let (middle, through) = middle::start(any, at).await.unwrap();
    let hop = |at: std::net::SocketAddr| format!("/ip4/{}/tcp/{}", at.ip(), at.port());
    let to = format!("{}{}/secure/api/service/uppercase", hop(through), hop(at));
    assert_eq!(initiator::say(&to, "hello ockam!").await.unwrap(), "HELLO OCKAM!");
    // The one in the middle had no channel; the one at the end has none any more, once the close has come.
    assert!(middle.channels().is_empty());
    while !responder.channels().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_policy_decides_on_credentials() {
    assert_eq!(credentials::run().await.unwrap(), (true, false));
}
