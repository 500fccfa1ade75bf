//! Change histories: those that peers show, and the authority's own when it rotates while they come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use authority::client::{Ask, Kind};
use authority::ockam::{Desk, Options, Service};
use authority::service::Operator;
use identity::{Credential, IssuerBundle, Rule, verify};
use node::request::Method;

use crate::common::{NOW, World, issuer, memory, rotated};
use crate::world::{Shown, Site, ask, asking, attest, peer};

const CREDENTIAL: (Method, &str) = (Method::Post, "/");

#[tokio::test]
async fn a_newer_history_replaces_and_an_older_one_is_refused() {
    let world = World::new(memory).await;
    let desk = Desk::new(world.authority.clone(), Options::default());
    let (before, _) = world.member(&[]).await;
    let after = rotated(&before, &world.vault, NOW).await;
    let (old, new) = (peer(&world, &before).await, peer(&world, &after).await);
    let ask = async |peer| ask(&desk, peer, Service::CredentialIssuer, CREDENTIAL, None).await;
    assert_eq!(ask(&old).await.status, 200);
    assert_eq!(ask(&new).await.status, 200);
    let known = world.authority.known(&after.identity.identifier()).unwrap().unwrap();
    assert_eq!(known.as_bytes(), after.identity.as_bytes());
    let refused = ask(&old).await;
    assert_eq!((refused.status, refused.error().code.as_deref()), (401, Some("unauthenticated")));
    assert!(refused.message().contains("newer change history"), "{}", refused.message());
    assert_eq!(ask(&new).await.status, 200);
}

#[tokio::test]
async fn a_conflicting_history_is_kept_as_evidence_and_blocks() {
    let world = World::new(memory).await;
    let desk = Desk::new(world.authority.clone(), Options::default());
    let (before, _) = world.member(&[]).await;
    let (one, other) = (rotated(&before, &world.vault, NOW).await, rotated(&before, &world.vault, NOW).await);
    let (one, other) = (peer(&world, &one).await, peer(&world, &other).await);
    let ask = async |peer| ask(&desk, peer, Service::CredentialIssuer, CREDENTIAL, None).await;
    assert_eq!(ask(&one).await.status, 200);
    let refused = ask(&other).await;
    assert_eq!(refused.status, 403);
    assert!(refused.message().contains("contradicts"), "{}", refused.message());
    let blocked = ask(&one).await;
    assert!(blocked.status == 403 && blocked.message().contains("contradict"), "{blocked:?}");
    let operator = Operator::of_this_process();
    let conflicts = world.authority.conflicts(&operator, None, 10).await.unwrap().items;
    assert_eq!(conflicts.len(), 1);
}

/// What a peer that goes by the reference's rule makes of a credential, with the history that it knows.
fn holds_by_the_reference(credential: &Credential, site: &Site, known: &identity::Identity) -> bool {
    let bundle = IssuerBundle::history_only(known.clone());
    let subject = site.world.enroller.identity.identifier();
    verify(credential, &bundle, Some(&subject), NOW, Rule::Reference).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_rotates_while_clients_come_and_go() {
    let site = Arc::new(Site::new().await);
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut busy = Vec::new();
    for _ in 0..3 {
        let (client, stop, asked) = (site.enroller().await, Arc::clone(&stop), Arc::clone(&asked));
        busy.push(tokio::task::spawn_blocking(move || {
            while !stop.load(Ordering::SeqCst) {
                // Verified under what the authority shows at that moment.
                client.credential()?;
                client.member_ids()?;
                asked.fetch_add(1, Ordering::SeqCst);
            }
            authority::client::Result::Ok(())
        }));
    }
    let enroller = site.enroller().await;
    let before = asking(&enroller, |client| client.credential()).await.unwrap();
    let old = site.world.root.identity.clone();
    let mut root = rotated(&site.world.root, &site.world.vault, NOW).await;
    for rotation in 0..4 {
        if rotation > 0 {
            root = rotated(&root, &site.world.vault, NOW).await;
        }
        // As a server does it: first what is issued, then what is shown.
        let keys = issuer(&root, &site.world.credential_key, NOW).await;
        site.world.authority.replace_issuer(&Operator::of_this_process(), keys).await.unwrap();
        let attestation = attest(&root, &site.key, NOW).await;
        *site.shown.0.lock().unwrap() = Shown::of(&root, &site.key, &attestation);
        let since = asked.load(Ordering::SeqCst);
        while asked.load(Ordering::SeqCst) < since + 3 {
            tokio::task::yield_now().await;
            assert!(busy.iter().all(|task| !task.is_finished()), "nobody is refused");
        }
    }
    stop.store(true, Ordering::SeqCst);
    for task in busy {
        task.await.unwrap().unwrap();
    }
    // Whoever connects sees the new history, and is offered a credential under it at once.
    let after = asking(&enroller, |client| client.credential()).await.unwrap();
    assert_eq!(after.issuer.identity().as_bytes(), root.identity.as_bytes());
    assert_eq!(root.identity.len(), 5);
    // By the reference's rule the old credential is over for who knows the new history, and the new one not yet good for who
    // does not; by ours the old one stays good.
    let (old_one, new_one) = (&before.credential, &after.credential);
    let good = |credential, known| holds_by_the_reference(credential, &site, known);
    assert!(good(old_one, &old) && good(new_one, &root.identity));
    assert!(!good(old_one, &root.identity) && !good(new_one, &old));
    let bundle = site.world.authority.issuer_bundle();
    assert!(verify(old_one, &bundle, None, NOW, Rule::default()).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_shows_an_older_history_is_not_believed() {
    let site = Site::new().await;
    let enroller = site.enroller().await;
    let after = rotated(&site.world.root, &site.world.vault, NOW).await;
    let before = site.shown.0.lock().unwrap().clone();
    let attestation = attest(&after, &site.key, NOW).await;
    *site.shown.0.lock().unwrap() = Shown::of(&after, &site.key, &attestation);
    // The desk still has the former keys: what the handshake shows is learnt all the same.
    asking(&enroller, |client| client.member_ids()).await.unwrap();
    *site.shown.0.lock().unwrap() = before;
    let refused = asking(&enroller, |client| client.member_ids()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Untrusted, "{refused}");
    let fresh: Arc<dyn Ask> = site.enroller().await;
    asking(&fresh, |client| client.member_ids()).await.unwrap();
}
