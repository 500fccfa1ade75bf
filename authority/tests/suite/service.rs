//! The authority as a whole: from ticket to credential, through failing vaults and while its keys are replaced.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{
    Failing, NOW, World, attested, attributes, issuer, memory, person, rocks, rotated, signer,
};
use authority::issuer::IssuerKeys;
use authority::service::{Authority, Operator, PROJECT_ATTRIBUTE, Settings};
use authority::store::{Decided, Decision};
use authority::ticket::NewTicket;
use authority::{Kind, Problem, audit};
use identity::{ChangeHash, ManualClock, Rule, verify};
use vault::Retry;
use vault::soft::SoftVault;

#[tokio::test]
async fn from_a_ticket_to_a_credential() {
    let world = World::new(rocks).await;
    let (authority, enroller) = (&world.authority, world.enroller().await);
    let new =
        NewTicket::new(attributes(&[("role", "sensor"), (PROJECT_ATTRIBUTE, "other")]), None, None).unwrap();
    let made = authority.make_ticket(&enroller, new).await.unwrap();
    let (person, caller) = world.stranger().await;
    assert!(authority.known(&caller.identifier()).unwrap().is_none());
    assert_eq!(authority.credential(&caller).await.unwrap_err().to_string(), "unauthorized member");
    authority.enrol(&caller, &made.code).await.unwrap();
    assert_eq!(authority.enrol(&caller, &made.code).await.unwrap_err().to_string(), "already a member");
    assert_eq!(
        authority.known(&caller.identifier()).unwrap().unwrap().as_bytes(),
        person.identity.as_bytes()
    );

    let credential = authority.credential(&caller).await.unwrap();
    let bundle = authority.issuer_bundle();
    let verified = verify(&credential, &bundle, Some(&caller.identifier()), NOW, Rule::Reference).unwrap();
    assert_eq!(verified.attributes().schema(), 1);
    let said: Vec<_> = verified.attributes().text().collect();
    assert_eq!(
        said,
        [("role", "sensor"), (PROJECT_ATTRIBUTE, "project-1")],
        "a member cannot name another project"
    );
    assert_eq!((verified.created_at(), verified.expires_at()), (NOW, NOW.after(3599)));

    let member = authority.member(&enroller, &caller.identifier()).await.unwrap();
    assert_eq!(member.added_by, enroller.identifier());
    let hash = hex::encode(credential.hash());
    let lines = world.audit_lines();
    let about: Vec<_> = lines.iter().filter(|line| line.contains(&hash)).collect();
    assert!(about[0].contains("credential-intend") && about[1].contains("credential-issue"));
    let log = lines.join("\n");
    assert!(!log.contains("sensor") && !log.contains(made.code.expose_hex().as_str()), "no value, no secret");
    audit::verify(&lines, None).unwrap();
}

#[tokio::test]
async fn everything_is_there_after_opening_again() {
    let world = World::new(rocks).await;
    let (_, caller) = world.member(&[("a", "b")]).await;
    world.authority.credential(&caller).await.unwrap();
    let head = audit::head(&*world.held.store).unwrap();
    let World { root, credential_key, authority, held, clock, .. } = world;
    let dir = held.dir.unwrap();
    drop((authority, held.store));

    let store = authority::store::open(
        &format!("rocksdb:{}", dir.path().join("store").display()),
        root.identity.identifier(),
        NOW.after(5),
    )
    .unwrap();
    let keys = issuer(&root, &credential_key, NOW).await;
    let authority =
        Authority::open(Arc::clone(&store), keys, Settings::new("project-1"), clock).await.unwrap();
    let again = authority.meet(caller.identity().clone()).await.unwrap();
    let credential = authority.credential(&again).await.unwrap();
    let now = authority.now();
    verify(&credential, &authority.issuer_bundle(), Some(&again.identifier()), now, Rule::default()).unwrap();
    let lines: Vec<_> = audit::export(store).map(Result::unwrap).collect();
    assert!(audit::verify(&lines, Some(&head)).unwrap().rows() > head.sequence);
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused() {
    let world = World::new(memory).await;
    let open = async |set: fn(&mut Settings)| {
        let mut settings = Settings::new("p");
        set(&mut settings);
        let keys = issuer(&world.root, &world.credential_key, NOW).await;
        let clock = Arc::new(ManualClock::new(NOW));
        Authority::open(Arc::clone(&world.held.store), keys, settings, clock).await.map(drop)
    };
    open(|_| {}).await.unwrap();
    open(|settings| settings.credential_seconds = 0).await.unwrap_err();
    open(|settings| settings.credential_seconds = u64::MAX).await.unwrap_err();
    open(|settings| settings.project = String::new()).await.unwrap_err();
    open(|settings| settings.project = "x".repeat(5000)).await.unwrap_err();

    let other = person(&world.vault).await;
    let keys = issuer(&other, &world.credential_key, NOW).await;
    let clock = Arc::new(ManualClock::new(NOW));
    let error =
        Authority::open(Arc::clone(&world.held.store), keys, Settings::new("p"), clock).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn keys_that_do_not_fit_are_refused() {
    let world = World::new(memory).await;
    let (root, key) = (&world.root, &world.credential_key);
    let other_key = signer(&world.vault).await;
    let attestation = attested(root, &other_key, NOW).await;
    let new =
        |attestation, now| IssuerKeys::new(root.identity.clone(), key.clone(), attestation, Vec::new(), now);
    assert_eq!(new(attestation, NOW).unwrap_err().kind(), Kind::Invalid);
    let expired = attested(root, key, NOW).await;
    let end = expired.expires_at();
    new(expired.clone(), end).unwrap();
    assert_eq!(new(expired, end.after(1)).unwrap_err().kind(), Kind::Invalid);
}

#[tokio::test]
async fn a_vault_that_fails_is_never_the_callers_fault() {
    let issuing = Failing::new();
    let world = World::with(memory, issuing.clone(), |_| {}).await;
    let (_, caller) = world.member(&[]).await;
    let orphans =
        async || world.authority.orphans(&Operator::of_this_process(), None, 99).await.unwrap().items.len();
    let mut left = 0;
    for kind in vault::Kind::ALL {
        for retry in [None, Some(Retry::Indeterminate)] {
            let mut error = vault::Error::new(kind, "told to fail");
            if let Some(retry) = retry {
                error = error.with_retry(retry);
            }
            issuing.fail_next(error);
            world.clock.set(world.authority.now().after(1));
            let problem = world.authority.credential(&caller).await.unwrap_err();
            assert!(problem.is_fault(), "{kind:?}: {problem:?}");
            assert!(!problem.to_string().contains("told to fail"));
            // What may have been signed stays on record as an orphan.
            let unsure = retry.is_some()
                || matches!(kind, vault::Kind::Backend | vault::Kind::Corrupt | vault::Kind::Rejected);
            left += usize::from(unsure);
            assert_eq!(orphans().await, left, "{kind:?} {retry:?}");
            if kind == vault::Kind::Corrupt {
                // Another key is where ours was: nothing more is signed until somebody has looked.
                assert!(world.authority.ready().is_err());
                assert!(world.authority.credential(&caller).await.unwrap_err().is_fault());
                let keys = issuer(&world.root, &world.credential_key, world.authority.now()).await;
                world.authority.replace_issuer(&Operator::of_this_process(), keys).await.unwrap();
                world.authority.ready().unwrap();
            }
        }
    }
    world.clock.set(world.authority.now().after(1));
    world.authority.credential(&caller).await.unwrap();
    audit::verify(world.audit_lines(), None).unwrap();
}

#[tokio::test]
async fn what_is_asked_for_is_finished_when_the_asker_goes_away() {
    let issuing = Failing::new();
    let world = World::with(memory, issuing.clone(), |_| {}).await;
    let (_, caller) = world.member(&[]).await;
    let gate = issuing.hold();
    let asked = tokio::time::timeout(Duration::from_millis(200), world.authority.credential(&caller)).await;
    asked.unwrap_err();
    let orphans =
        async || world.authority.orphans(&Operator::of_this_process(), None, 9).await.unwrap().items.len();
    assert_eq!(orphans().await, 1, "the intent stands before the key has signed");
    gate.add_permits(1);
    for _ in 0..200 {
        if orphans().await == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the credential was never recorded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_replaced_while_credentials_are_issued() {
    let mut world = World::new(memory).await;
    let (_, caller) = world.member(&[]).await;
    let authority = world.authority.clone();
    let issuing = tokio::spawn(async move {
        let mut issued = Vec::new();
        for _ in 0..200 {
            issued.push(authority.credential(&caller).await.unwrap());
            tokio::task::yield_now().await;
        }
        issued
    });
    for _ in 0..5 {
        world.root = rotated(&world.root, &world.vault, NOW).await;
        let keys = issuer(&world.root, &world.credential_key, NOW).await;
        world.authority.replace_issuer(&Operator::of_this_process(), keys).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let bundle = world.authority.issuer_bundle();
    assert_eq!(bundle.identity().len(), 6);
    for credential in issuing.await.unwrap() {
        verify(&credential, &bundle, None, NOW, Rule::default()).unwrap();
    }
    // Neither back nor elsewhere.
    let rotated_again = rotated(&world.root, &world.vault, NOW).await;
    let stale = issuer(&world.root, &world.credential_key, NOW).await;
    let next = issuer(&rotated_again, &world.credential_key, NOW).await;
    let other = issuer(&person(&world.vault).await, &world.credential_key, NOW).await;
    let operator = Operator::of_this_process();
    world.authority.replace_issuer(&operator, next).await.unwrap();
    for keys in [stale, other] {
        assert_eq!(world.authority.replace_issuer(&operator, keys).await.unwrap_err().kind(), Kind::Invalid);
    }
    let change = rotated_again.identity.latest().hash().to_string();
    assert!(world.audit_lines().iter().any(|line| line.contains("issuer-replace") && line.contains(&change)));
    change.parse::<ChangeHash>().unwrap();
}

#[tokio::test]
async fn a_credential_never_outlives_its_key() {
    let world = World::new(memory).await;
    let (_, caller) = world.member(&[]).await;
    let end = world.authority.status(&world.enroller().await).await.unwrap().credential_key_expires_at;
    let at = |seconds: u64| identity::Timestamp(end.0 - seconds);
    world.clock.set(at(31 * 86_400));
    assert!(!world.authority.needs_renewal());
    world.clock.set(at(29 * 86_400));
    assert!(world.authority.needs_renewal());
    world.clock.set(at(3599));
    let last = world.authority.credential(&caller).await.unwrap();
    assert_eq!(last.expires_at(), end);
    world.clock.set(at(3598));
    let problem = world.authority.credential(&caller).await.unwrap_err();
    assert!(matches!(problem, Problem::Unavailable { .. }));
}

#[tokio::test]
async fn a_contradiction_blocks_until_the_operator_decides() {
    let world = World::new(memory).await;
    let (first, _) = world.member(&[]).await;
    let (one, two) = (rotated(&first, &world.vault, NOW).await, rotated(&first, &world.vault, NOW).await);
    let caller = world.meet(&one).await;
    assert_eq!(world.authority.meet(first.identity.clone()).await.unwrap_err().code(), "unauthenticated");
    assert_eq!(world.authority.meet(two.identity.clone()).await.unwrap_err().code(), "forbidden");
    // Also what was let in before.
    assert_eq!(world.authority.credential(&caller).await.unwrap_err().code(), "forbidden");
    let operator = Operator::of_this_process();
    let conflicts = world.authority.conflicts(&operator, None, 9).await.unwrap();
    assert_eq!(conflicts.items.len(), 1);
    let of = conflicts.items[0].identifier;
    world.authority.resolve_conflict(&operator, &of, Decision::KeepKnown).await.unwrap();
    world.authority.credential(&caller).await.unwrap();
    assert_eq!(world.authority.meet(two.identity.clone()).await.unwrap_err().code(), "forbidden");
    world.authority.credential(&caller).await.unwrap();
    let decided = world.authority.conflict(&operator, &of).await.unwrap().decided;
    assert_eq!(decided, Some(Decided { decision: Decision::KeepKnown, at: NOW }));
    let nobody = world.root.identity.identifier();
    assert_eq!(world.authority.conflict(&operator, &nobody).await.unwrap_err().code(), "not-found");
    let none = world.authority.resolve_conflict(&operator, &nobody, Decision::KeepKnown).await;
    assert_eq!(none.unwrap_err().code(), "not-found");
}

#[tokio::test]
async fn a_listed_admin_needs_no_row() {
    let vault: Arc<dyn vault::Vault> = Arc::new(SoftVault::in_memory().unwrap());
    let admin = person(&vault).await;
    let world = World::with(memory, vault, |settings| {
        settings.rules.enforce_admin = true;
        settings.rules.admins.insert(admin.identity.identifier());
    })
    .await;
    let caller = world.meet(&admin).await;
    let credential = world.authority.credential(&caller).await.unwrap();
    let bundle = world.authority.issuer_bundle();
    let verified = verify(&credential, &bundle, Some(&caller.identifier()), NOW, Rule::default()).unwrap();
    assert_eq!(verified.attributes().text().collect::<Vec<_>>(), [(PROJECT_ATTRIBUTE, "project-1")]);
    assert!(world.authority.known(&caller.identifier()).unwrap().is_none());
}
