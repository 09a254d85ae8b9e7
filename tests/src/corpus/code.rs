//! The code in Rust source text: functions and other items with their bodies, each in one piece where it fits.
//!
//! Line by line, not by a parser, and by the indentation that rustfmt gives: an item ends with the brace that closes it, at the
//! margin or one step from it, where the functions of an `impl` end. Other items, such as imports, end at a blank line. Lines of
//! documentation are left out, since they are passages themselves.

use super::documentation::documentation;
use super::passages;

/// How far a line may be indented that ends a function of an `impl`.
const STEP: usize = 4;

/// The passages of a source file's code.
pub(super) fn passages(source: &str) -> Vec<String> {
    let items = items(source);
    let mut passages = passages::join(items.iter().map(String::as_str));
    passages.retain(|passage| is_text(passage));
    passages
}

fn items(source: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut item = String::new();
    let mut margin = 0;
    for line in source.lines().filter(|line| documentation(line).is_none()) {
        let code = line.trim();
        if code.is_empty() {
            if margin == 0 {
                items.push(std::mem::take(&mut item));
            } else {
                item.push('\n');
            }
            continue;
        }
        margin = line.len() - line.trim_start().len();
        item.push_str(line.trim_end());
        item.push('\n');
        if code.starts_with('}') && margin <= STEP {
            items.push(std::mem::take(&mut item));
            margin = 0;
        }
    }
    items.push(item);
    for item in &mut items {
        item.truncate(item.trim_end().len());
    }
    items.retain(|item| !item.trim().is_empty());
    items
}

/// Whether it is mostly letters: tables of numbers and of escapes are none that anybody searches.
fn is_text(passage: &str) -> bool {
    let (mut letters, mut others) = (0, 0);
    for character in passage.chars().filter(|character| !character.is_whitespace()) {
        *(if character.is_alphabetic() { &mut letters } else { &mut others }) += 1;
    }
    letters > others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_keep_their_bodies() {
        let source = "//! About.\nuse a::B;\nuse c::D;\n\nimpl E {\n    /// Docs.\n    fn f() {\n        let x = 1;\n\n        // And on.\n        x\n    }\n\n    fn g() {}\n}\n\nstruct H;\n";
        let expected = [
            "use a::B;\nuse c::D;",
            "impl E {\n    fn f() {\n        let x = 1;\n\n        // And on.\n        x\n    }",
            "    fn g() {}\n}",
            "struct H;",
        ];
        assert_eq!(items(source), expected);
        assert!(items("//! Only documentation.\n").is_empty());
    }

    #[test]
    fn tables_of_numbers_are_left_out() {
        let table =
            format!("const TABLE: [u32; 400] = [\n{}\n];\n", "    0x1F600, 0x1F601, 0x1F602,\n".repeat(100));
        assert!(passages(&table).len() <= 1, "only the line that names it may be text");
        let code = "fn length(&self) -> usize {\n    self.elements.iter().filter(|element| element.is_live()).count()\n}\n";
        assert_eq!(passages(code), [code.trim_end()]);
    }
}
