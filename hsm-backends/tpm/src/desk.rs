//! The owner thread's place: the one connection to a TPM, made when it is needed, and made again when it broke.

use std::thread;
use std::time::{Duration, Instant};

use vault::{Error, Kind, Result, Retry};

use crate::address::Tcti;
use crate::errors::{Done, Remedy, Trouble};
use crate::link::{Link, Ward};

/// The pause before a TPM that is busy is asked again.
const PAUSE: Duration = Duration::from_millis(10);

pub(crate) struct Desk {
    tcti: Tcti,
    link: Option<Link>,
}

impl Desk {
    pub(crate) fn new(tcti: Tcti) -> Self {
        Self { tcti, link: None }
    }

    /// Does something with the TPM of a vault, and once more where a remedy may help. `work` must be safe to repeat.
    pub(crate) fn attempt<T>(
        &mut self,
        deadline: Instant,
        ward: Option<&Ward>,
        mut work: impl FnMut(&mut Link) -> Done<T>,
    ) -> Result<T> {
        let (mut flushed, mut reconnected) = (false, false);
        loop {
            let trouble = match self.link(ward).and_then(&mut work) {
                Ok(value) => return Ok(value),
                Err(trouble) => trouble,
            };
            let mut remedy = trouble.remedy();
            if remedy == Remedy::Flush && !self.flush() {
                remedy = Remedy::Reconnect;
            }
            let again = match remedy {
                Remedy::None => false,
                Remedy::Wait => {
                    thread::sleep(PAUSE);
                    true
                }
                Remedy::Flush => !std::mem::replace(&mut flushed, true),
                Remedy::Reconnect => {
                    // What is in the TPM goes with the context that knows it.
                    self.link = None;
                    !std::mem::replace(&mut reconnected, true)
                }
            };
            if !again || Instant::now() >= deadline {
                return Err(trouble.into_error(&self.tcti.text));
            }
        }
    }

    /// Flushes a key, if there is a connection that may have it loaded.
    pub(crate) fn forget(&mut self, id: &str) {
        if self.link.as_mut().is_some_and(|link| link.forget(id).is_err()) {
            self.link = None;
        }
    }

    fn link(&mut self, ward: Option<&Ward>) -> Done<&mut Link> {
        let link = match self.link.take() {
            Some(link) => link,
            None => Link::open(&self.tcti)?,
        };
        if ward.is_some_and(|ward| ward.store.storage_key() != link.storage_name()) {
            return Err(Trouble::Decided(self.another()));
        }
        Ok(self.link.insert(link))
    }

    /// Whether there was something to flush, and it could be.
    fn flush(&mut self) -> bool {
        self.link.as_mut().is_some_and(|link| link.release_all().is_ok())
    }

    fn another(&self) -> Error {
        let text =
            format!("the TPM `{}` was cleared, or is another one than the vault was made on", self.tcti.text);
        Error::new(Kind::NotFound, text).with_retry(Retry::NeedsOperator).with_hint(
            "if it is another one, put the right one back; the keys of a TPM that was cleared are gone for good",
        )
    }
}
