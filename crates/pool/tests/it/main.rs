//! The pools' integration tests: one binary, a module for each subject.

mod bad_input;
mod behaviour;
mod keyed;
mod keyed_properties;
mod properties;
mod scripted;
mod sockets;
