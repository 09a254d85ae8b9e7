//! Damage: whatever happens to the bytes of a log, it opens with all that was acknowledged or is refused, with the
//! file and the place. Never a panic, never a silent loss.
//!
//! There is one limit, and it is tested as such: in a log that was not closed, damage to the very last batch that
//! looks just like an interrupted write can't be told from one. It is cut then, and reported.

mod simulated_disk;

#[path = "damage/bits.rs"]
mod bits;
#[path = "damage/forgery.rs"]
mod forgery;
#[path = "damage/log.rs"]
mod log;
#[path = "damage/structure.rs"]
mod structure;
