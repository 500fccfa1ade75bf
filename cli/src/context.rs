//! What every command works with: the home, its vaults, the clock, and how to talk to people.

use std::cell::OnceCell;
use std::ffi::OsString;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use home::rotation::{self, NoServer};
use home::{Home, Name, Vaults, Writer};
use identity::{Clock, SystemClock, Timestamp};

use crate::args::{Format, Globals};
use crate::backends;
use crate::error::{Error, Result, shown};
use crate::exit::Kind;
use crate::filter::Filter;
use crate::hardening;
use crate::interrupt::{self, Hold};
use crate::output::Output;
use crate::progress;
use crate::secret_input::{Answers, Heard, Source};
use crate::terminal;

/// What every command works with.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) output: Output,
    pub(crate) no_input: bool,
    pub(crate) pin: Option<Source>,
    pub(crate) passphrase: Option<Source>,
    pub(crate) heard: Arc<Heard>,
    home: OnceCell<Home>,
    vaults: OnceCell<Arc<Vaults>>,
}

/// The lock for writers. Until it is released, an interruption waits.
#[derive(Debug)]
pub(crate) struct Writing {
    writer: Writer,
    _whole: Hold,
}

impl Deref for Writing {
    type Target = Writer;

    fn deref(&self) -> &Writer {
        &self.writer
    }
}

/// How to write, from options and variables. A variable that is set to something else than a no is a yes, as the
/// convention of NO_COLOR has it.
pub(crate) fn output(globals: &Globals, variable: impl Fn(&str) -> Option<OsString>) -> Result<Output> {
    Ok(Output {
        json: globals.output == Format::Json || globals.compact_output,
        filter: globals.jq.as_deref().map(Filter::new).transpose()?,
        quiet: switch(globals.quiet, "QUIET", &variable),
        color: !switch(globals.no_color, "NO_COLOR", &variable),
    })
}

fn switch(option: Option<bool>, name: &str, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    option.unwrap_or_else(|| {
        variable(name)
            .is_some_and(|value| !["", "0", "false"].iter().any(|no| value.eq_ignore_ascii_case(no)))
    })
}

impl Context {
    pub(crate) fn new(globals: &Globals, output: Output) -> Result<Self> {
        Ok(Self {
            output,
            no_input: switch(globals.no_input, "NO_INPUT", |name| std::env::var_os(name)),
            pin: Source::of("pin", globals.pin.as_deref(), globals.pin_file.as_deref())?,
            passphrase: Source::of(
                "passphrase",
                globals.passphrase.as_deref(),
                globals.passphrase_file.as_deref(),
            )?,
            heard: Arc::default(),
            home: OnceCell::new(),
            vaults: OnceCell::new(),
        })
    }

    /// The same for another thread: the home and the vaults as they are opened here.
    pub(crate) fn apart(&self) -> Self {
        Self {
            output: self.output,
            no_input: self.no_input,
            pin: self.pin.clone(),
            passphrase: self.passphrase.clone(),
            heard: Arc::clone(&self.heard),
            home: self.home.clone(),
            vaults: self.vaults.clone(),
        }
    }

    /// The clock.
    pub(crate) fn clock(&self) -> SystemClock {
        SystemClock
    }

    /// Now.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock().now()
    }

    /// The home.
    pub(crate) fn home(&self) -> Result<&Home> {
        if let Some(home) = self.home.get() {
            return Ok(home);
        }
        // Its first opening makes it.
        let _whole = interrupt::hold();
        let home = Home::open(Home::locate(|name| std::env::var_os(name))?)?;
        Ok(self.home.get_or_init(|| home))
    }

    /// The home, for a command that only reads: says what a reader has to know.
    pub(crate) fn read(&self) -> Result<&Home> {
        let home = self.home()?;
        for name in rotation::pending(home)? {
            self.output.note(&format!(
                "a rotation of the identity `{name}` was cut off; what is shown is its last committed state, and the next command that writes goes on with it"
            ));
        }
        Ok(home)
    }

    /// The vaults of the home. From here on keys may be in memory.
    pub(crate) fn vaults(&self) -> Result<&Arc<Vaults>> {
        let home = self.home()?;
        Ok(self.vaults.get_or_init(|| {
            if let Some(warning) = hardening::warning() {
                self.output.note(&warning);
            }
            Arc::new(Vaults::new(home.clone(), backends::registry(), self.interact()))
        }))
    }

    /// Who answers what vaults ask.
    pub(crate) fn interact(&self) -> Arc<Answers> {
        Arc::new(Answers {
            pin: self.pin.clone(),
            passphrase: self.passphrase.clone(),
            person: terminal::person(self.no_input),
            turn: Mutex::default(),
            heard: Arc::clone(&self.heard),
        })
    }

    /// Takes the lock for writers, and finishes first what was cut off.
    pub(crate) fn writer(&self) -> Result<Writing> {
        let home = self.home()?;
        let waiting = progress::waiting(self.output, "waiting for another command that writes");
        let writer = Writing { writer: home.write()?, _whole: interrupt::hold() };
        drop(waiting);
        for name in rotation::pending(home)? {
            // A running server goes on with the rotation of its own identity: it has to take over the new key.
            if let Some(server) = home.server_of_identity(&name)? {
                self.output.note(&format!(
                    "a rotation of `{name}` is not finished; the server `{server}` goes on with it"
                ));
                continue;
            }
            let clock = self.clock();
            let recovery = rotation::recover(&writer, self.vaults()?, &NoServer, &clock, Some(&name));
            for recovered in vault::block_on(recovery)? {
                self.output.note(&recovery_text(&recovered));
            }
        }
        Ok(writer)
    }

    /// Refuses to change what a rotation is still about.
    pub(crate) fn refuse_while_rotating(&self, identity: Option<&Name>) -> Result<()> {
        let pending = rotation::pending(self.home()?)?;
        match pending.iter().find(|name| identity.is_none_or(|identity| identity == *name)) {
            None => Ok(()),
            Some(name) => Err(Error::new(
                Kind::Unavailable,
                format!("a rotation of the identity `{name}` was cut off and could not be finished yet"),
            )
            .with_hint("make its vaults reachable and try again: the rotation is finished first")),
        }
    }

    /// Asks for consent: `--yes`, or a person who says so.
    pub(crate) fn confirm(&self, yes: bool, question: &str) -> Result<()> {
        if yes {
            return Ok(());
        }
        match terminal::confirm(self.no_input, question) {
            Some(true) => Ok(()),
            Some(false) => Err(Error::new(Kind::Interrupted, "nothing was done")),
            None => Err(Error::usage("this cannot be undone, and nobody can be asked")
                .with_hint("add --yes to go ahead")),
        }
    }
}

/// What was done about a rotation that was cut off.
pub(crate) fn recovery_text(recovered: &rotation::Recovered) -> String {
    let name = &recovered.identity;
    match &recovered.result {
        Ok(Some(outcome)) => format!(
            "a rotation of `{name}` that was cut off is finished: change {} is {}",
            outcome.changes, outcome.latest_change_hash
        ),
        Ok(None) => format!("a rotation of `{name}` that was cut off is taken back: nothing of it is left"),
        Err(error) => format!("a rotation of `{name}` was cut off and cannot be finished for now: {error}"),
    }
}

/// A name for something of the home, checked, with our words for what it is.
pub(crate) fn name(noun: &str, text: &str) -> Result<Name> {
    Name::new(text).map_err(|e| {
        let error = Error::invalid(format!("`{}` cannot be the name of {noun}", shown(text)));
        match e.hint() {
            Some(hint) => error.with_hint(hint.to_owned()),
            None => error,
        }
    })
}

/// As [`name`], of what may be left out.
pub(crate) fn optional_name(noun: &str, text: Option<&str>) -> Result<Option<Name>> {
    text.map(|text| name(noun, text)).transpose()
}

/// A random name.
pub(crate) fn random_name(stem: &str) -> Result<Name> {
    let random = vault::SecretBytes::random(4)?;
    Ok(Name::new(&format!("{stem}-{}", hex::encode(random.expose())))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_take_options_before_variables() {
        let set = |value: &'static str| move |_: &str| Some(OsString::from(value));
        for (option, value, on) in [
            (None, "1", true),
            (None, "true", true),
            (None, "yes", true),
            (None, "0", false),
            (None, "False", false),
            (None, "", false),
            (Some(false), "1", false),
            (Some(true), "0", true),
        ] {
            assert_eq!(switch(option, "QUIET", set(value)), on, "{option:?} {value:?}");
        }
        assert!(!switch(None, "QUIET", |_| None));
    }

    #[test]
    fn hostile_names_are_refused_in_few_words() {
        for bad in ["../x", "a/b", "", "a\0b", "a\nb", &"x".repeat(65536)] {
            let error = name("a vault", bad).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid);
            let text = error.to_string();
            assert!(text.len() < 200 && !text.contains(['\0', '\n']), "{text}");
        }
        assert!(random_name("vault").unwrap().as_str().len() == 14);
    }
}
