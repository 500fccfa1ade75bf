//! Nodes that talk to each other over TCP on the loopback, with software keys.

mod channels;
mod floods;
mod policies;
mod relays;
mod routes;
mod world;
