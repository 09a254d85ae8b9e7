//! A store's files as one text file: each file's name and length, then its rows of bytes that are
//! not all zero.
//!
//! Segments are mostly zeros, so the text is small, and a change of it can be read in a diff.

use std::fmt::Write as _;
use std::path::Path;

/// Bytes in a row.
const ROW: usize = 32;

/// Writes the files of the store in `dir` to `image`.
pub(crate) fn save(dir: &Path, image: &Path) {
    let mut names = vec!["STORE".to_owned()];
    let entries = std::fs::read_dir(dir.join("log")).unwrap();
    names.extend(entries.map(|entry| format!("log/{}", entry.unwrap().file_name().into_string().unwrap())));
    names.sort();
    let mut text = String::new();
    for name in names {
        let bytes = std::fs::read(dir.join(&name)).unwrap();
        writeln!(text, "file {name} {}", bytes.len()).unwrap();
        let rows = (0..).step_by(ROW).zip(bytes.chunks(ROW));
        for (offset, row) in rows.filter(|(_, row)| row.iter().any(|byte| *byte != 0)) {
            write!(text, "{offset} ").unwrap();
            for byte in row {
                write!(text, "{byte:02x}").unwrap();
            }
            text.push('\n');
        }
    }
    std::fs::write(image, text).unwrap();
}

/// Makes the files that [`save`] wrote to `image`, in `dir`, which is empty.
pub(crate) fn restore(image: &Path, dir: &Path) {
    std::fs::create_dir(dir.join("log")).unwrap();
    let text = std::fs::read_to_string(image).unwrap();
    let mut file: Option<(&str, Vec<u8>)> = None;
    let finish = |file: Option<(&str, Vec<u8>)>| {
        if let Some((name, bytes)) = file {
            std::fs::write(dir.join(name), bytes).unwrap();
        }
    };
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["file", name, length] = words[..] {
            finish(file.replace((name, vec![0; length.parse().unwrap()])));
        } else {
            let (_, bytes) = file.as_mut().unwrap();
            let offset: usize = words[0].parse().unwrap();
            let row = words[1].as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
            for (at, byte) in (offset..).zip(row) {
                bytes[at] = u8::from_str_radix(byte, 16).unwrap();
            }
        }
    }
    finish(file);
}
