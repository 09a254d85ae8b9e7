//! Placeholder while the skeleton stands up.
