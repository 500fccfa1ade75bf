//! Both sides, in every order, with every kind of identity, and with keys whose vaults fail.

mod orders;
mod payloads;
mod peers;
mod vaults;
