//! Search by words, by vectors and by both, as a user of the store sees it: beside writes, through sealing and merging, with filters, and
//! again after reopening.

mod filters;
mod hybrid;
mod reopening;
mod sealing;
mod support;
mod vectors;
mod views;
