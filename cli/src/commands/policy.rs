//! `policy check`: what a text says, and what is likely not meant. `policy eval`: on a verified credential, whose attributes come from the proof of its verification and from nowhere else;
//! or on attributes that were typed, to try things out.

mod of_node;

use policy_lang::{Comparison, Decision, Env, Policy, Warning};
use serde_json::{Value, json};

use super::resolve;
use crate::args::attribute;
use crate::args::policy::{Check, Eval, Verb};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::exit::Kind;
use crate::output::Report;

pub(crate) fn run(context: &Context, verb: Verb) -> Result<Report> {
    match verb {
        Verb::Eval(eval) => decide(context, &eval),
        Verb::Check(check) => Ok(checked(context, &check)),
        Verb::Create(create) => of_node::create(context, create),
        Verb::Show(which) => of_node::show(context, &which),
        Verb::List(list) => of_node::list(context, &list),
        Verb::Delete(delete) => of_node::delete(context, delete),
    }
}

/// What a text says by the strict meaning; the warnings name where the exact one may decide otherwise.
fn checked(context: &Context, check: &Check) -> Report {
    let text = check.expression.as_str();
    let Comparison { strict, exact, warnings, .. } = policy_lang::compare(text);
    let place = |warning: &Warning| warning.span().line_column(text);
    let told: Vec<Value> = warnings
        .iter()
        .map(|warning| {
            let (line, column) = place(warning);
            json!({
                "kind": warning.kind().name(),
                "differs": warning.kind().differs(),
                "line": line,
                "column": column,
                "start": warning.span().start(),
                "end": warning.span().end(),
                "message": warning.text(),
            })
        })
        .collect();
    let (policy, reason) = match &strict {
        Ok(policy) => (Some(policy), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let full = policy.map_or("", Policy::as_str);
    let json = json!({
        "valid": policy.is_some(),
        "form": policy.map(|policy| policy.form().to_string()),
        "policy": policy.map(Policy::as_str),
        "exact": exact.as_ref().ok().map(Policy::as_str),
        "warnings": told,
        "reason": reason,
    });
    for warning in &warnings {
        let (line, column) = place(warning);
        context.output.note(&format!("{line}:{column}: {}: {}", warning.kind().name(), warning.text()));
    }
    let Some(policy) = policy else {
        context.output.note(&format!("the text is refused: {}", reason.unwrap_or_default()));
        return Report::new("not valid", json).machine("").refusing(Kind::Rejected);
    };
    let report = Report::new(format!("{}: {full}", policy.form()), json).machine(full);
    if check.exit_code && !warnings.is_empty() { report.refusing(Kind::Rejected) } else { report }
}

fn decide(context: &Context, eval: &Eval) -> Result<Report> {
    let verdict = evaluate(context, eval)?;
    let code = match (eval.exit_code, verdict.outcome, verdict.decision) {
        (true, "unparsable", _) => Some(Kind::Rejected),
        (true, _, Decision::Deny) => Some(Kind::Denied),
        _ => None,
    };
    let mut plain = vec![verdict.decision.to_string()];
    plain.extend(verdict.reasons.iter().map(|reason| format!("  {reason}")));
    let json = json!({
        "outcome": verdict.outcome,
        "decision": verdict.decision.to_string(),
        "form": verdict.form,
        "reasons": verdict.reasons,
    });
    let report = Report::new(plain.join("\n"), json).machine(verdict.decision.to_string());
    Ok(match code {
        Some(kind) => report.refusing(kind),
        None => report,
    })
}

struct Verdict {
    outcome: &'static str,
    decision: Decision,
    form: Option<String>,
    reasons: Vec<String>,
}

fn evaluate(context: &Context, eval: &Eval) -> Result<Verdict> {
    // The facts first: a credential that is refused is told even when the policy is no policy.
    let env = environment(context, eval)?;
    let policy = match Policy::parse_as(&eval.expression, eval.meaning.into()) {
        Ok(policy) => policy,
        Err(error) => {
            return Ok(Verdict {
                outcome: "unparsable",
                decision: Decision::Deny,
                form: None,
                reasons: vec![error.to_string()],
            });
        }
    };
    let form = Some(policy.form().to_string());
    Ok(match env {
        Ok(env) => {
            let evaluation = policy.evaluate(&env);
            let reasons = evaluation.reasons.iter().map(ToString::to_string).collect();
            Verdict { outcome: evaluation.outcome.name(), decision: evaluation.decision(), form, reasons }
        }
        Err(reason) => Verdict { outcome: "error", decision: Decision::Deny, form, reasons: vec![reason] },
    })
}

/// What is known about the subject; or why nothing is, which is a deny.
fn environment(context: &Context, eval: &Eval) -> Result<std::result::Result<Env, String>> {
    let Some(hex) = resolve::credential_text(&eval.given)? else { return typed(context, eval).map(Ok) };
    if eval.issuer.is_none() && eval.checking.issuer_bundle.is_none() {
        return Err(
            Error::usage("the issuer of the credential is missing").with_hint("name it with --issuer")
        );
    }
    let checked =
        resolve::check(context.read()?, &hex, eval.issuer.as_deref(), &eval.checking, context.now())?;
    let verified = match checked.verdict {
        Ok(verified) => verified,
        Err(reason) => return Ok(Err(format!("the credential is refused: {reason}"))),
    };
    let subject = verified.subject().to_string();
    Ok(Env::for_subject(&subject, verified.attributes().text())
        .map_err(|error| format!("the credential is refused: {error}")))
}

/// What was typed, to try things out: without a credential there is no `subject.has_credential` unless attributes stand in
/// for one.
fn typed(context: &Context, eval: &Eval) -> Result<Env> {
    if eval.issuer.is_some() || eval.checking.issuer_bundle.is_some() {
        return Err(Error::usage("an issuer is named without a credential")
            .with_hint("give --credential or --credential-path"));
    }
    let subject = match &eval.checking.subject {
        Some(given) => Some(match given.parse::<identity::Identifier>() {
            Ok(identifier) => identifier,
            Err(_) => resolve::identifier(context.read()?, given)?,
        }),
        None => None,
    };
    if eval.attributes.is_empty() {
        let mut env = Env::new();
        if let Some(subject) = subject {
            env.bind("subject.identifier", subject.to_string().as_str());
        }
        return Ok(env);
    }
    let pairs: Vec<_> = eval.attributes.iter().map(|text| attribute(text)).collect();
    // Somebody who does not exist: `I` and zeros, which is nobody's hash.
    let subject = subject.unwrap_or_else(|| identity::Identifier::from_bytes([0; 32])).to_string();
    Env::for_subject(&subject, pairs).map_err(|error| Error::invalid(error.to_string()))
}
