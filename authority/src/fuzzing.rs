//! Private decoders, behind the feature `fuzzing`: for fuzz/, which the product knows nothing of.
//!
//! Each answers what the decoder took, written again, or `None` for what it refused.

pub use crate::http::fuzzing::{
    ANSWERS, REQUESTS, answer, digest_of, identity_header, is_digest_of, page, request, signature, url,
};
pub use crate::ockam::fuzzing::{BODIES, service_body};
pub use crate::store::fuzzing::{RECORDS, record};
