//! What is read from disk and from sockets: it may have been written by anybody.

use authority::audit;
use home::control::Ask;
use vault::KeyName;

use super::written_again;

/// The first byte says which record, the rest is it.
pub fn home_records(data: &[u8]) {
    let Some((which, record)) = data.split_first() else { return };
    let decode = |record: &[u8]| home::fuzzing::record(usize::from(*which), record);
    let Some(written) = decode(record) else { return };
    written_again(&*written, |record| Some(decode(record)?.into()));
}

/// The first byte says which record, the rest is it.
pub fn store_records(data: &[u8]) {
    let Some((which, record)) = data.split_first() else { return };
    let decode = |record: &[u8]| authority::fuzzing::record(usize::from(*which), record);
    let Some(written) = decode(record) else { return };
    written_again(&*written, |record| Some(decode(record)?.into()));
}

/// The first byte says which file, the rest is it.
pub fn vault_files(data: &[u8]) {
    let Some((which, file)) = data.split_first() else { return };
    let name = KeyName::new("issuer").unwrap();
    let decode = |file: &[u8]| match which % 2 {
        0 => vault::fuzzing::header(file),
        _ => vault::fuzzing::key_record(&name, file),
    };
    let Some(written) = decode(file) else { return };
    written_again(&*written, |file| Some(decode(file)?.into()));
}

/// A request on the control socket, as the server reads its line.
pub fn control_socket(data: &[u8]) {
    let Ok(line) = std::str::from_utf8(data) else { return };
    let Ok(ask) = Ask::parse(line) else { return };
    let written = serde_json::to_string(&ask).unwrap();
    assert!(!written.contains('\n'), "a request is one line");
    assert_eq!(Ask::parse(&written).unwrap(), ask);
}

/// A log that verifies is, line for line, the one way to write its rows; without its last row it is one row shorter, and not
/// the log that its head is of.
pub fn audit_log(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let lines: Vec<&str> = text.lines().collect();
    let Ok(proof) = audit::verify(&lines, None) else { return };
    assert_eq!(proof.rows(), lines.len() as u64);
    assert!(audit::verify(&lines, Some(proof.head())).is_ok());
    for line in &lines {
        let row: audit::AuditRow = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&row).unwrap(), *line);
        assert_eq!(row.computed_hash(), row.hash);
    }
    if let Some((_, shorter)) = lines.split_last() {
        assert_eq!(audit::verify(shorter, None).unwrap().rows() + 1, proof.rows());
        assert!(audit::verify(shorter, Some(proof.head())).is_err());
    }
}
