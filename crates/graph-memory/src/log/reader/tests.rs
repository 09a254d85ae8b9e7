//! Damage: whatever happens to the bytes of a log, the reader accepts all that was acknowledged or
//! refuses the log, with the segment and the byte. It never panics, and never loses anything
//! silently.
//!
//! There is one limit, and it is tested as such: in a log that was not closed, damage to the very
//! last batch that looks just like an interrupted write can't be told from one. It is erased then,
//! and reported.
//!
//! - [`bits`]: every flipped bit and every length, of single files;
//! - [`structure`]: segments and batches that are missing, foreign, misplaced, zeroed, or lie about
//!   themselves;
//! - [`opening`]: opening real files does what the reader says of their bytes.

mod bits;
mod image;
mod opening;
mod structure;
