//! The engine against targets with known defects and loads of known shapes, and the page in a
//! browser.
//!
//! What needs the process or the machine for itself is in `../alone`.

mod html_report;
mod load_shapes;
mod own_record;
mod planted_defects;
#[cfg(unix)]
mod stalled_target;

/// Where the examples of reports, which are the library's own, look for the schema.
mod report {
    pub(crate) use steadfast_stress::report::{Report, SCHEMA};
}
