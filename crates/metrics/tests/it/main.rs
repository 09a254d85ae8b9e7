//! The metrics' integration tests: one binary, a module for each subject.

mod bounds;
mod conservation;
mod exposition;
mod properties;
