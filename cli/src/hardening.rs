//! What this process keeps from others of the same user, and from the disk: no core is dumped, no debugger is let in, and
//! keys lie in memory that is not written to swap.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Before anything secret is in memory. None of this can fail for a process that only gives up what it has.
pub(crate) fn at_start() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = setrlimit(Resource::Core, none);
    // Also what makes the files of /proc/PID belong to root.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let memory = getrlimit(Resource::Memlock);
    let _ = setrlimit(Resource::Memlock, Rlimit { current: memory.maximum, ..memory });
}

/// What is to be said when keys cannot be kept from swap.
pub(crate) fn warning() -> Option<String> {
    let error = vault::memory::can_lock().err()?;
    let hint = error.hint().unwrap_or_default();
    Some(format!("keys in memory may be written to swap: {error}; {hint}"))
}
