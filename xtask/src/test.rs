//! `cargo xtask test`: unit, integration and doc tests of the default members, by plain `cargo test`.

use std::process::Stdio;

use crate::failure::Failure;
use crate::workspace::Workspace;
use crate::{process, repeat};

/// With `--repeat`, see [`repeat`]. Otherwise words are filters, several of them an "or". If the first begins with `-`,
/// all are for `cargo test` as they stand.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    if let Some(request) = repeat::parse(arguments).map_err(Failure::Usage)? {
        return repeat::run(workspace, &request);
    }
    process::run(workspace.cargo().args(cargo_arguments(arguments)).stdin(Stdio::null()))
}

fn cargo_arguments(arguments: &[String]) -> Vec<&str> {
    let given = arguments.iter().map(String::as_str);
    match arguments.first() {
        None => vec!["test"],
        Some(first) if first.starts_with('-') => std::iter::once("test").chain(given).collect(),
        // `cargo test a b` is refused; behind `--` the test binaries take any number of filters.
        Some(_) => ["test", "--"].into_iter().chain(given).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_go_to_the_test_binaries_and_options_to_cargo() {
        let arguments = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(cargo_arguments(&[]), ["test"]);
        assert_eq!(cargo_arguments(&arguments("torn crash")), ["test", "--", "torn", "crash"]);
        assert_eq!(cargo_arguments(&arguments("-p steadfast-stress")), ["test", "-p", "steadfast-stress"]);
    }
}
