//! Enrolling and issuing through the server, beside another server that signs.
//!
//! Members who were nobody before each spend a ticket of their own and get a credential, over connections that stay open:
//! real requests to a real server, whose store is on the disk and synced before it answers. What the members would do on
//! machines of their own (make keys, an identity, and the signatures of their requests) is done before the clock starts.

mod authority;
mod cfssl;
mod connection;
mod crowd;
mod member;
mod options;
mod request;

pub use authority::{Site, Writes};
pub use cfssl::Cfssl;
pub use crowd::{Crowd, Measured, Work};
pub use member::{Fleet, Member};
pub use options::Options;

/// Whatever went wrong, in words.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// The result of what may go wrong.
pub type Result<T> = std::result::Result<T, Error>;
