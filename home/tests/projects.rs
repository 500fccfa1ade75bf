//! Records of projects: which one is the default, and what is left when one is forgotten.

#![allow(clippy::unwrap_used, reason = "a test that cannot set up its world should stop")]

use home::{Home, Kind, ProjectRecord, StoredCredential};

fn project(identifier: &str) -> ProjectRecord {
    ProjectRecord {
        identifier: identifier.to_owned(),
        name: format!("the {identifier}"),
        project_route: format!("/service/{identifier}"),
        project_change_history: String::new(),
        authority_route: "http://127.0.0.1:1".to_owned(),
        authority_change_history: "00".to_owned(),
        authority_ca: None,
    }
}

fn credential(scope: &str) -> StoredCredential {
    let somebody = format!("I{}", "0".repeat(64));
    StoredCredential {
        subject: somebody.parse().unwrap(),
        issuer: somebody.parse().unwrap(),
        scope: scope.to_owned(),
        credential: "00".to_owned(),
    }
}

#[test]
fn the_default_project_is_one_that_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path().join("home")).unwrap();
    let writer = home.write().unwrap();
    for identifier in ["b", "a", "c"] {
        home.store_project(&writer, &project(identifier)).unwrap();
    }
    let default = || home.project_or_default(None).map(|project| project.identifier);
    assert_eq!(default().unwrap(), "b");
    home.remove_project(&writer, &project("c")).unwrap();
    assert_eq!(default().unwrap(), "b");
    home.remove_project(&writer, &project("b")).unwrap();
    assert_eq!(default().unwrap(), "a");
    home.remove_project(&writer, &project("a")).unwrap();
    assert_eq!(default().unwrap_err().kind(), Kind::NotFound);
    assert_eq!(home.remove_project(&writer, &project("a")).unwrap_err().kind(), Kind::NotFound);
    home.store_project(&writer, &project("c")).unwrap();
    assert_eq!(default().unwrap(), "c");
}

#[test]
fn a_credential_is_forgotten_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path().join("home")).unwrap();
    let writer = home.write().unwrap();
    for scope in ["project-member-a", "project-member-b"] {
        home.store_credential(&writer, &credential(scope)).unwrap();
    }
    home.remove_credential(&writer, &credential("project-member-a")).unwrap();
    assert_eq!(home.credentials().unwrap(), [credential("project-member-b")]);
    let again = home.remove_credential(&writer, &credential("project-member-a")).unwrap_err();
    assert_eq!(again.kind(), Kind::NotFound);
}
