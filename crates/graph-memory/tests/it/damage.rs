//! Damage to real files: a store opens with all that was acknowledged, or is refused with the file
//! and the byte. Never a panic, never a silent loss.
//!
//! Every bit, every length and every structure is tried where the bytes are judged, in `src/log/reader/tests.rs`. Here
//! each class of damage goes once through the public API. [`forgery`] has tenants who try to pass for the store.

mod forgery;
mod log;
mod real_files;
