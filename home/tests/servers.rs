//! Records of servers: which node is the default, and which server has an identity for itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot set up its world should stop")]

use home::{Home, Kind, Name, NodeRecord, ServerRecord};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn record(kind: &str) -> ServerRecord {
    let record: ServerRecord =
        serde_json::from_str(&format!(r#"{{"kind":"{kind}","pid":1,"identity":"alice"}}"#)).unwrap();
    ServerRecord { node: (kind == "node").then(NodeRecord::default), ..record }
}

#[test]
fn the_default_node_is_one_that_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path().join("home")).unwrap();
    let writer = home.write().unwrap();
    for (server, kind) in [("authority-a", "authority"), ("n1", "node"), ("n2", "node")] {
        home.put_server(&writer, &name(server), &record(kind)).unwrap();
    }
    assert_eq!(home.default_node().unwrap(), None);
    home.set_default_node(&writer, &name("n2")).unwrap();
    assert_eq!(home.default_node().unwrap(), Some(name("n2")));
    for (server, kind) in [("authority-a", Kind::Invalid), ("nobody", Kind::NotFound)] {
        assert_eq!(home.set_default_node(&writer, &name(server)).unwrap_err().kind(), kind);
    }
    // The next one takes its place, and never a server of another kind.
    home.remove_server(&writer, &name("n2")).unwrap();
    assert_eq!(home.default_node().unwrap(), Some(name("n1")));
    home.remove_server(&writer, &name("n1")).unwrap();
    assert_eq!(home.default_node().unwrap(), None);
}

#[test]
fn an_identity_belongs_to_an_authority_and_to_no_node() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path().join("home")).unwrap();
    for (server, kind) in [("n1", "node"), ("zz", "authority")] {
        home.put_server(&home.write().unwrap(), &name(server), &record(kind)).unwrap();
    }
    let _node = home.lock_server(&name("n1")).unwrap();
    assert_eq!(home.server_of_identity(&name("alice")).unwrap(), None);
    let _authority = home.lock_server(&name("zz")).unwrap();
    assert_eq!(home.server_of_identity(&name("alice")).unwrap(), Some(name("zz")));
}

#[test]
fn what_a_node_was_made_with_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path().join("home")).unwrap();
    let node = NodeRecord {
        listen: "127.0.0.1:0".into(),
        project: Some("demo".into()),
        status_endpoint: Some("127.0.0.1:0".into()),
        policies: [("resource:echo".to_owned(), "(= subject.a \"b\")".to_owned())].into(),
        ..NodeRecord::default()
    };
    let record = ServerRecord { node: Some(node), tcp_address: Some("127.0.0.1:1".into()), ..record("node") };
    home.put_server(&home.write().unwrap(), &name("n1"), &record).unwrap();
    assert_eq!(home.server(&name("n1")).unwrap(), (record, false));
}
