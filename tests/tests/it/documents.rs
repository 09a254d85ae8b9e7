//! Suite `documents` on a pool of another size.

use steadfast_stress::{Options, Verdict, measure};
use steadfast_suites::backend::Embedded;
use steadfast_suites::documents::PoolLimit;

use crate::fixture::judge::broken;

#[test]
fn pool_limit_sees_a_pool_that_is_too_large() {
    let report = measure(PoolLimit::on(Embedded).with_handles(21), &Options::default());
    assert_eq!(report.verdict, Verdict::Fail);
    assert_eq!(broken(&report), ["at most 20 handles open"]);
}
