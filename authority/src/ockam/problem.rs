//! How a refusal is answered. The reference has one answer to whatever it refuses, 403 with words; what our own clients have
//! to tell apart beyond that is said by a word in a field that the reference skips.

use node::request::{ErrorBody, Request, Status};

use crate::problem::Problem;

/// The words that are said of refusals whose status does not tell them, as the HTTP door says them in `kind`.
pub const CODES: [&str; 4] = ["not-found", "rate-limited", "unavailable", "unauthenticated"];

/// Of which of them it is also said when to come again.
pub const RETRY_AFTER: [&str; 2] = ["rate-limited", "unavailable"];

/// What a service says to what it does not serve.
pub(super) const UNKNOWN_PATH: &str = "unknown path";

pub(super) fn status(problem: &Problem) -> Status {
    match problem {
        Problem::Malformed(_) => Status::BadRequest,
        Problem::Unauthenticated { .. } => Status::Unauthorized,
        // As the reference does, whose clients look at the words.
        Problem::Forbidden(_)
        | Problem::NotFound(_)
        | Problem::Conflict(_)
        | Problem::KeyReused
        | Problem::RateLimited { .. } => Status::Forbidden,
        Problem::Unavailable { .. } | Problem::Internal => Status::InternalServerError,
    }
}

pub(super) fn body(problem: &Problem, request: &Request<'_>) -> ErrorBody {
    let code = problem.code();
    ErrorBody {
        code: CODES.contains(&code).then(|| code.to_owned()),
        retry_after: problem.retry_after().map(|wait| wait.as_secs().max(1)),
        ..ErrorBody::of(request, problem.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use node::request::Method;

    use super::*;
    use crate::problem::Needs;

    #[test]
    fn each_problem_has_its_answer() {
        let wait = Duration::from_millis(1500);
        let request = Request { id: 1, path: "/", method: Some(Method::Post), body: None, key: None };
        for (problem, number, code, retry_after) in [
            (Problem::malformed("words"), 400, None, None),
            (Problem::Unauthenticated { needs: Needs::NewerHistory }, 401, Some("unauthenticated"), None),
            (Problem::forbidden("unauthorized member"), 403, None, None),
            (Problem::not_found("words"), 403, Some("not-found"), None),
            (Problem::conflict("already a member"), 403, None, None),
            (Problem::KeyReused, 403, None, None),
            (Problem::RateLimited { retry_after: wait }, 403, Some("rate-limited"), Some(1)),
            (Problem::Unavailable { retry_after: wait }, 500, Some("unavailable"), Some(1)),
            (Problem::Internal, 500, None, None),
        ] {
            let said = body(&problem, &request);
            assert_eq!(status(&problem).number(), number, "{problem:?}");
            assert_eq!((said.code.as_deref(), said.retry_after), (code, retry_after), "{problem:?}");
            assert_eq!((said.message, said.path.as_deref()), (Some(problem.to_string()), Some("/")));
        }
    }
}
