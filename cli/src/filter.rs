//! `--jq`: a filter in the language of jq over the JSON of a result, as the reference has it. Each value that comes out is
//! written on a line of its own, texts in quotes.

use std::io;
use std::thread;

use jaq_core::compile::Undefined;
use jaq_core::data::JustLut;
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Exn, Vars};
use jaq_json::{Val, read};
use serde_json::Value;

use crate::error::{Error, Result, shown};
use crate::exit::Kind;

/// The longest filter, in bytes. Parsing and running go as deep as a filter is nested, and what one says in a line of a script
/// is shorter.
const MOST: usize = 4096;
/// A stack on which a filter that is all brackets is parsed.
const STACK: usize = 64 << 20;

/// What is said to who mistypes one.
const EXAMPLE: &str = "as in --jq .identifier or --jq '.[].name'";

type Compiled = jaq_core::Filter<JustLut<Val>>;

/// A filter that compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Filter(&'static str);

impl Filter {
    /// Reads one, before anything is done: a filter that is none is a wrong command line. It is kept for as long as the
    /// process lives, as whatever says how output is written.
    pub(crate) fn new(text: &str) -> Result<Self> {
        if text.len() > MOST {
            return Err(Error::usage(format!("the filter has more than {MOST} bytes"))
                .with_hint("pipe the JSON into `jq`, which reads a filter from a file"));
        }
        apart(|| compile(text).map(drop))??;
        Ok(Self(Box::leak(text.to_owned().into_boxed_str())))
    }

    /// Runs it, and gives on what comes out, each value as JSON. Ends early, and well, when nobody takes it.
    pub(crate) fn run(
        self,
        value: &Value,
        mut each: impl FnMut(&str) -> io::Result<()> + Send,
    ) -> Result<()> {
        let input = value.to_string();
        apart(|| {
            let filter = compile(self.0)?;
            let input = read::parse_single(input.as_bytes())
                .map_err(|e| Error::new(Kind::Internal, format!("the filter cannot read the result: {e}")))?;
            let context = Ctx::<JustLut<Val>>::new(&filter.lut, Vars::new([]));
            for value in filter.id.run((context, input)) {
                let told = each(&value.map_err(failed)?.to_string());
                match told {
                    Ok(()) => {}
                    Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                    Err(e) => return Err(crate::output::unwritten(e)),
                }
            }
            Ok(())
        })?
    }
}

/// Does something on a stack that is large enough for it.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    let ended: io::Result<_> =
        thread::scope(|scope| Ok(thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work)?.join()));
    ended
        .map_err(|e| Error::new(Kind::Exhausted, "the system gives no more threads").with_source(e))?
        .map_err(|_| Error::new(Kind::Internal, "the filter ended badly"))
}

fn compile(text: &str) -> Result<Compiled> {
    let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let arena = Arena::default();
    let modules = Loader::new(definitions)
        .load(&arena, File { code: text, path: () })
        .map_err(|errors| refused(text, errors.into_iter().find_map(|(_, error)| unread(error))))?;
    Compiler::default()
        .with_funs(functions)
        .compile(modules)
        .map_err(|errors| refused(text, errors.into_iter().flat_map(|(_, all)| all).next().map(undefined)))
}

/// What is wrong with a filter, and the part of it where it shows.
type Wrong<'a> = (String, &'a str);

fn unread(error: load::Error<&str>) -> Option<Wrong<'_>> {
    match error {
        load::Error::Io(all) => all.into_iter().next().map(|(at, _)| ("nothing is included".to_owned(), at)),
        load::Error::Lex(all) => {
            all.into_iter().next().map(|(expected, at)| (format!("expected {}", expected.as_str()), at))
        }
        load::Error::Parse(all) => {
            all.into_iter().next().map(|(expected, at)| (format!("expected {}", expected.as_str()), at))
        }
    }
}

fn undefined((name, what): (&str, Undefined)) -> Wrong<'_> {
    let name_shown = shown(name);
    let told = match what {
        Undefined::Filter(arity) => format!("there is no filter `{name_shown}/{arity}`"),
        other => format!("there is no {} `{name_shown}`", other.as_str()),
    };
    (told, name)
}

fn refused(text: &str, wrong: Option<Wrong<'_>>) -> Error {
    let told = match wrong {
        Some((what, at)) => format!("{what}{}", place(text, at)),
        None => "it does not compile".to_owned(),
    };
    Error::usage(format!("`{}` is no filter of jq: {told}", shown(text))).with_hint(EXAMPLE)
}

/// Where a part of a text is, in words.
fn place(text: &str, part: &str) -> String {
    let offset = (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize);
    match offset.and_then(|offset| text.get(..offset)) {
        Some(before) if before.len() == text.len() => " at its end".to_owned(),
        Some(before) => format!(" at character {}", before.chars().count() + 1),
        None => String::new(),
    }
}

/// What a filter met in a result that it was not made for.
fn failed(exception: Exn<'_, Val>) -> Error {
    const WORDS: usize = 200;
    let why = match exception.get_err() {
        Ok(error) => error.to_string(),
        Err(_) => "it halts".to_owned(),
    };
    let short: String = why.chars().filter(|c| !c.is_control()).take(WORDS).collect();
    let cut = if short.len() < why.len() { "…" } else { "" };
    Error::invalid(format!("the filter fails: {short}{cut}")).with_hint(
        "what the command did is done; `--output json` shows the result that the filter did not fit",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filtered(filter: &str, value: &Value) -> Result<Vec<String>> {
        let mut all = Vec::new();
        Filter::new(filter)?.run(value, |one| {
            all.push(one.to_owned());
            Ok(())
        })?;
        Ok(all)
    }

    /// As the reference printed them: texts in quotes, a line for each value, `null` for what is not there.
    #[test]
    fn values_are_written_as_json() {
        let value = json!([
            { "name": "a", "is_default": true, "n": 18_446_744_073_709_551_615_u64 },
            { "name": "b\n", "is_default": false, "n": 3600 },
        ]);
        for (filter, lines) in [
            (".[].name", vec![r#""a""#, r#""b\n""#]),
            ("[.[].name]", vec![r#"["a","b\n"]"#]),
            (".[0].nothing", vec!["null"]),
            ("length", vec!["2"]),
            (".[] | select(.is_default) | .n", vec!["18446744073709551615"]),
            ("map(.is_default | not)", vec!["[false,true]"]),
            (".[1] | .n / 60 | floor", vec!["60"]),
            (".[1] | .n | todate", vec![r#""1970-01-01T01:00:00Z""#]),
            (".[] | select(.name | test(\"^a$\")) | {name}", vec![r#"{"name":"a"}"#]),
            ("[.[].name] | @base64", vec![r#""WyJhIiwiYlxuIl0=""#]),
            ("empty", vec![]),
            (
                ".",
                vec![
                    r#"[{"is_default":true,"n":18446744073709551615,"name":"a"},{"is_default":false,"n":3600,"name":"b\n"}]"#,
                ],
            ),
        ] {
            assert_eq!(filtered(filter, &value).unwrap(), lines, "{filter}");
        }
    }

    #[test]
    fn what_is_no_filter_is_a_wrong_command_line_and_shows_where() {
        for (filter, told) in [
            ("", "at its end"),
            (".[0", "expected closing bracket at its end"),
            (". | foo", "there is no filter `foo/0` at character 5"),
            ("\"ä\" | foo(1; 2)", "there is no filter `foo/2` at character 7"),
            ("$x", "there is no variable `$x` at character 1"),
            (".a | | .b", "expected term at character 6"),
            (".a §", "at character 4"),
            ("include \"x\"; .", "nothing is included"),
            ("if . then 1", "at its end"),
            (&"[".repeat(MOST), "closing bracket"),
            (&"x".repeat(MOST + 1), "more than 4096 bytes"),
        ] {
            let error = Filter::new(filter).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{filter}");
            let text = error.to_string();
            assert!(text.contains(told) && text.len() < 300, "{filter}: {text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_told_and_what_came_before_is_there() {
        let mut all = Vec::new();
        let error = Filter::new(".a, .a.b")
            .unwrap()
            .run(&json!({ "a": "x" }), |one| {
                all.push(one.to_owned());
                Ok(())
            })
            .unwrap_err();
        assert_eq!((error.kind(), all), (Kind::Invalid, vec![r#""x""#.to_owned()]));
        assert!(error.to_string().contains("cannot index"), "{error}");
        let long = filtered(".b", &json!("x".repeat(100_000))).unwrap_err().to_string();
        assert!(long.len() < 300, "{long}");
        assert!(filtered("halt", &json!(1)).unwrap_err().to_string().contains("halts"));
        assert!(filtered("error(\"oh\")", &json!(1)).unwrap_err().to_string().contains("oh"));
    }

    /// Nothing is deep enough to end the process.
    #[test]
    fn depth_is_survived() {
        let value = json!(1);
        let half = MOST / 2;
        for filter in [
            format!("{}1{}", "[".repeat(half - 1), "]".repeat(half - 1)),
            format!("{}1{}", "(".repeat(half - 1), ")".repeat(half - 1)),
            format!("{}1", "-".repeat(MOST - 1)),
            format!("1{}", "|1".repeat(half - 1)),
            format!("1{}", "+1".repeat(half - 1)),
            "\"\\(".repeat(MOST / 3),
        ] {
            // A value, or a refusal: both are answers.
            let _ = filtered(&filter, &value);
        }
    }

    #[test]
    fn a_reader_who_goes_away_is_no_failure() {
        let filter = Filter::new("repeat(1)").unwrap();
        filter.run(&json!(1), |_| Err(io::ErrorKind::BrokenPipe.into())).unwrap();
        assert!(filter.run(&json!(1), |_| Err(io::ErrorKind::StorageFull.into())).is_err());
    }
}
