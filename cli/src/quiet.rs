//! The library that talks to TPMs writes warnings of its own to standard error unless a variable tells it not to when it is
//! first used. What went wrong is told by us, once; so where a TPM may be used and the variable is not set, the program
//! starts itself again with it. (A process can change its own environment only by unsafe code.)

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use home::Home;

const VARIABLE: &str = "TSS2_LOG";

/// The first thing that the program does. Where it cannot be done, there is more to read.
pub(crate) fn at_start() {
    if std::env::var_os(VARIABLE).is_some() {
        return;
    }
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let arguments: Vec<OsString> = arguments.collect();
    let typed = arguments.iter().any(|argument| argument.to_string_lossy().contains("tpm:"));
    let registered = || Home::locate(|name| std::env::var_os(name)).is_ok_and(|home| has_tpm(&home));
    if !typed && !registered() {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        // Comes back only when it fails.
        let _ = Command::new(program).arg0(name).args(arguments).env(VARIABLE, "all+NONE").exec();
    }
}

/// Whether a vault of this home is on a TPM. The home is not opened for it: that would make it.
fn has_tpm(home: &Path) -> bool {
    let records = std::fs::read_dir(home.join("vaults")).into_iter().flatten().flatten();
    records.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|it| it == "json")).any(
        |path| {
            vault::durable::read(&path, 64 * 1024)
                .is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains("\"tpm:"))
        },
    )
}
