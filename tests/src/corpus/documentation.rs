//! The documentation in Rust source text: blocks of consecutive `//!` or `///` lines.
//!
//! Line by line, not by a parser: documentation in `/** */` and `#[doc]` is left out, and such a line in a string is taken for
//! documentation. Neither matters to a text that is only to be stored and found.

/// Each block with its markers taken off, its lines ended by `\n`.
pub(super) fn blocks(source: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block = String::new();
    for line in source.lines() {
        if let Some(text) = documentation(line) {
            block.push_str(text);
            block.push('\n');
        } else if !block.is_empty() {
            blocks.push(std::mem::take(&mut block));
        }
    }
    if !block.is_empty() {
        blocks.push(block);
    }
    blocks
}

/// The text of a line of documentation.
pub(super) fn documentation(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let text = line.strip_prefix("//!").or_else(|| {
        let text = line.strip_prefix("///")?;
        // Four slashes are a plain comment.
        (!text.starts_with('/')).then_some(text)
    })?;
    Some(text.strip_prefix(' ').unwrap_or(text).trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_consecutive_lines() {
        let source = "//! One\n//!  two.\n\n//! Three.\nfn f() {\n    /// Four.\n    /// ```\n    let x = 1; // five\n//// six\n///\n";
        assert_eq!(blocks(source), ["One\n two.\n", "Three.\n", "Four.\n```\n", "\n"]);
        assert!(blocks("fn main() {}\n").is_empty());
    }
}
