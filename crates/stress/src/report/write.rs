//! Writing the report: the run's directory, and a file that is always whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Report, html, junit};

/// Makes a new directory `<out>/<start>-<seed>`, with a number behind it if that exists; tells its path.
pub(crate) fn make_run_directory(out: &Path, start: SystemTime, seed: u64) -> io::Result<PathBuf> {
    const TRIES: u32 = 1_000;
    fs::create_dir_all(out)?;
    let name = format!("{}-{seed}", utc(start));
    for number in 1..=TRIES {
        let path = out.join(if number == 1 { name.clone() } else { format!("{name}-{number}") });
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{name} exists {TRIES} times")))
}

/// Writes `report.json`, `report.html` and `junit.xml` into `directory`, and tells the first one's path. A reader sees each
/// file as it was or as it is to be, never half of one.
pub(crate) fn write(report: &Report, directory: &Path) -> io::Result<PathBuf> {
    let path = replace(directory, "report.json", |file| {
        serde_json::to_writer_pretty(&mut *file, report)?;
        file.write_all(b"\n")
    })?;
    pages(report, directory)?;
    Ok(path)
}

/// Writes what is made from `report.json` alone, and tells the path of `report.html`.
pub(crate) fn pages(report: &Report, directory: &Path) -> io::Result<PathBuf> {
    let page = replace(directory, "report.html", |file| file.write_all(html::render(report).as_bytes()))?;
    replace(directory, "junit.xml", |file| file.write_all(junit::render(report).as_bytes()))?;
    Ok(page)
}

fn replace(
    directory: &Path,
    name: &str,
    content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<PathBuf> {
    let (path, temporary) = (directory.join(name), directory.join(format!("{name}.tmp")));
    let mut file = BufWriter::new(File::create(&temporary)?);
    content(&mut file)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&temporary, &path)?;
    Ok(path)
}

/// `20250131T235959Z`; the epoch for times before it.
fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let (year, month, day) = civil_date(seconds / 86_400);
    let of_day = seconds % 86_400;
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Year, month and day of a day since 1970-01-01: Howard Hinnant's `civil_from_days`, for days after the epoch.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Years that begin in March put the leap day last.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::examples;

    #[test]
    fn dates() {
        let at = |seconds| utc(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "19700101T000000Z");
        assert_eq!(at(951_827_696), "20000229T123456Z");
        assert_eq!(at(1_735_689_599), "20241231T235959Z");
        assert_eq!(at(4_107_542_400), "21000301T000000Z");
    }

    #[test]
    fn two_runs_in_one_second_have_a_directory_each() {
        let out = tempfile::tempdir().unwrap();
        let make = || make_run_directory(&out.path().join("new"), UNIX_EPOCH, 7).unwrap();
        assert_eq!(make().file_name().unwrap(), "19700101T000000Z-7");
        assert_eq!(make().file_name().unwrap(), "19700101T000000Z-7-2");
    }

    #[test]
    fn each_writing_replaces_all_three_files_and_leaves_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        let mut report = examples::of_every_verdict();
        let all = report.scenarios.split_off(1);
        write(&report, directory.path()).unwrap();
        assert!(!read("report.html").contains("shop.restock") && !read("junit.xml").contains("restock"));
        report.scenarios.extend(all);
        let path = write(&report, directory.path()).unwrap();
        let mut names: Vec<String> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["junit.xml", "report.html", "report.json"]);
        assert_eq!(path, directory.path().join("report.json"));
        // The page can be made again from the JSON alone.
        let again: Report = serde_json::from_str(&read("report.json")).unwrap();
        assert_eq!(html::render(&again), read("report.html"));
        assert_eq!(junit::render(&again), read("junit.xml"));
        assert!(read("report.html").contains("shop.restock"));
    }

    #[test]
    fn a_file_that_cannot_be_replaced_is_an_error_and_the_old_one_stays() {
        let directory = tempfile::tempdir().unwrap();
        let report = examples::full(2);
        write(&report, directory.path()).unwrap();
        let old = fs::read(directory.path().join("report.html")).unwrap();
        // A directory stands where the temporary file has to go.
        fs::create_dir(directory.path().join("report.html.tmp")).unwrap();
        assert!(write(&examples::empty(), directory.path()).is_err());
        assert_eq!(fs::read(directory.path().join("report.html")).unwrap(), old);
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_an_error() {
        let out = tempfile::NamedTempFile::new().unwrap();
        assert!(make_run_directory(out.path(), UNIX_EPOCH, 7).is_err());
    }
}
