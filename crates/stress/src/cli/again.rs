//! `report`: the page and `junit.xml`, made again from a `report.json`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command, value_parser};

use super::{FAILED, USAGE, print};
use crate::progress::say;
use crate::report::{Report, SCHEMA, write};

/// The subcommand's name.
pub(super) const NAME: &str = "report";

pub(super) fn command() -> Command {
    Command::new(NAME)
        .about("Makes report.html and junit.xml again, beside a report.json. Exit code: 0, 1 not written, 2 no report")
        .arg(
            Arg::new("report")
                .value_name("REPORT")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("A report.json, or a run's directory"),
        )
}

/// Makes them, tells where the page is, and returns the exit code.
pub(super) fn run(matches: &ArgMatches) -> u8 {
    // clap has seen to it that there is one.
    let given = matches.get_one::<PathBuf>("report").cloned().unwrap_or_default();
    let path = if given.is_dir() { given.join("report.json") } else { given };
    let report = match read(&path) {
        Ok(report) => report,
        Err(wrong) => {
            say(&format!("error: {}: {wrong}", path.display()));
            return USAGE;
        }
    };
    match write::pages(&report, path.parent().unwrap_or(Path::new(""))) {
        Ok(page) => {
            print(&format!("page    {}\n", page.display()));
            0
        }
        Err(error) => {
            say(&format!("error: cannot write beside {}: {error}", path.display()));
            FAILED
        }
    }
}

fn read(path: &Path) -> Result<Report, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let report: Report =
        serde_json::from_str(&text).map_err(|error| format!("this is no report: {error}"))?;
    if report.schema != SCHEMA {
        return Err(format!("schema {} of another version; this one reads {SCHEMA}", report.schema));
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::examples;

    fn again(path: &Path) -> u8 {
        run(&command().try_get_matches_from([Path::new(NAME), path]).unwrap())
    }

    #[test]
    fn the_page_is_made_again_from_the_file_or_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        write::write(&examples::of_every_verdict(), directory.path()).unwrap();
        let page = directory.path().join("report.html");
        let before = fs::read(&page).unwrap();
        for path in [directory.path().to_owned(), directory.path().join("report.json")] {
            fs::remove_file(&page).unwrap();
            assert_eq!(again(&path), 0);
            assert!(fs::read(&page).unwrap() == before);
        }
        // Half a report, as of a disk that was full, makes no half page.
        let json = fs::read(directory.path().join("report.json")).unwrap();
        fs::write(directory.path().join("report.json"), &json[..json.len() / 2]).unwrap();
        assert_eq!(again(directory.path()), USAGE);
        assert!(fs::read(&page).unwrap() == before);
        assert_eq!(again(&directory.path().join("none")), USAGE);
        let other = Report { schema: SCHEMA + 1, ..examples::full(2) };
        write::write(&other, directory.path()).unwrap();
        assert_eq!(again(directory.path()), USAGE, "another version's");
    }

    #[test]
    fn a_page_that_cannot_be_written_is_told() {
        let directory = tempfile::tempdir().unwrap();
        write::write(&examples::full(2), directory.path()).unwrap();
        fs::create_dir(directory.path().join("report.html.tmp")).unwrap();
        assert_eq!(again(directory.path()), FAILED);
    }
}
