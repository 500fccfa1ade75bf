//! The script: a file of rules, read before each call, so that it can change while the module runs.
//!
//! ```text
//! C_SignInit            call 1   answer 0x30            the first call is answered with this value, and goes no further
//! C_GenerateKeyPair     always   lose 0x30              every call is done, and then answered with this value
//! C_Login               always   delay 200              milliseconds, before the call
//! C_Sign                call 2   hang                   until the script changes
//! C_Sign                call 1   length +1              what is said of a length: N, +N or -N
//! C_Sign                always   flip                   a bit of what is returned
//! C_GetTokenInfo        always   set 0x40000            bits of the flags, or the state of a session
//! C_GetAttributeValue   always   attribute 0x180 flip   the same for one attribute; none that is read is said to be longer
//! C_SignInit            always   other-key              the key that was used before this one
//! C_EncryptInit         always   own-nonce              a nonce of the module's own, over the caller's
//! ```
//!
//! Calls are counted from when the script was written. What is not a rule is a remark.

use std::collections::BTreeMap;

/// What is to be done about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Answer(u64),
    Lose(u64),
    Delay(u64),
    Hang,
    OtherKey,
    OwnNonce,
    Lie(Lie),
    LieOf(u64, Lie),
}

/// What is said instead of the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    Length(Change),
    Flip,
    Set(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    To(u64),
    More(u64),
    Less(u64),
}

impl Change {
    pub(crate) fn of(self, truth: u64) -> u64 {
        match self {
            Self::To(value) => value,
            Self::More(by) => truth.wrapping_add(by),
            Self::Less(by) => truth.wrapping_sub(by),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    function: String,
    /// Which call; every one without.
    call: Option<u64>,
    action: Action,
}

/// A script, and how far it is.
#[derive(Debug, Default)]
pub(crate) struct Script {
    text: String,
    rules: Vec<Rule>,
    calls: BTreeMap<&'static str, u64>,
}

impl Script {
    /// Takes the text of now; a new one starts from the beginning.
    pub(crate) fn update(&mut self, text: String) {
        if text != self.text {
            self.rules = text.lines().filter_map(rule).collect();
            self.calls.clear();
            self.text = text;
        }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Counts a call, and says what is to be done about it.
    pub(crate) fn next(&mut self, function: &'static str) -> Vec<Action> {
        let count = self.calls.entry(function).or_default();
        *count += 1;
        let applies =
            |rule: &&Rule| rule.function == function && rule.call.is_none_or(|wanted| wanted == *count);
        self.rules.iter().filter(applies).map(|rule| rule.action.clone()).collect()
    }
}

fn rule(line: &str) -> Option<Rule> {
    let mut words = line.split_whitespace();
    let function = words.next()?.to_owned();
    let call = match words.next()? {
        "always" => None,
        "call" => Some(number(words.next()?)?),
        _ => return None,
    };
    let action = match words.next()? {
        "answer" => Action::Answer(number(words.next()?)?),
        "lose" => Action::Lose(number(words.next()?)?),
        "delay" => Action::Delay(number(words.next()?)?),
        "hang" => Action::Hang,
        "other-key" => Action::OtherKey,
        "own-nonce" => Action::OwnNonce,
        "attribute" => {
            let attribute = number(words.next()?)?;
            Action::LieOf(attribute, lie(words.next()?, words.next())?)
        }
        word => Action::Lie(lie(word, words.next())?),
    };
    Some(Rule { function, call, action })
}

fn lie(word: &str, value: Option<&str>) -> Option<Lie> {
    match (word, value) {
        ("flip", _) => Some(Lie::Flip),
        ("set", Some(value)) => number(value).map(Lie::Set),
        ("length", Some(value)) => {
            let change = match (value.strip_prefix('+'), value.strip_prefix('-')) {
                (Some(by), _) => Change::More(number(by)?),
                (_, Some(by)) => Change::Less(number(by)?),
                _ => Change::To(number(value)?),
            };
            Some(Lie::Length(change))
        }
        _ => None,
    }
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> Script {
        let mut script = Script::default();
        script.update(text.to_owned());
        script
    }

    #[test]
    fn rules_are_read() {
        let mut script = script(
            "# a remark\n\nC_Sign always answer 0x30\nC_Sign always length -1\nC_Sign always attribute 0x180 flip\n\
             C_Sign always length 18446744073709551615\nC_Sign always nonsense\nC_Sign never hang\nC_Sign call x hang\n",
        );
        assert_eq!(
            script.next("C_Sign"),
            [
                Action::Answer(0x30),
                Action::Lie(Lie::Length(Change::Less(1))),
                Action::LieOf(0x180, Lie::Flip),
                Action::Lie(Lie::Length(Change::To(u64::MAX))),
            ]
        );
        assert_eq!(script.next("C_SignInit"), []);
    }

    #[test]
    fn calls_are_counted_from_when_the_script_was_written() {
        let mut script = script("C_Sign call 2 hang");
        assert_eq!(script.next("C_Sign"), []);
        script.update("C_Sign call 2 hang".to_owned());
        assert_eq!(script.next("C_Sign"), [Action::Hang]);
        assert_eq!(script.next("C_Sign"), []);
        script.update("C_Sign call 2 hang\n# again".to_owned());
        assert_eq!((script.next("C_Sign"), script.next("C_Sign")), (vec![], vec![Action::Hang]));
    }

    #[test]
    fn lengths_change() {
        assert_eq!(Change::More(1).of(u64::MAX), 0);
        assert_eq!((Change::Less(1).of(64), Change::To(5).of(64)), (63, 5));
    }
}
