//! Cutting text into passages: paragraphs, joined until they are long enough and cut where they are too long.
//!
//! A paragraph ends at a blank line, but not inside a code block, which is kept: examples hold the identifiers that people
//! search for. Paragraphs that follow each other in one file are joined to a passage until it has 40 words.

/// A passage is complete with so many words.
const WORDS_ENOUGH: usize = 40;
/// What is left at the end of a file is a passage if it has so many words.
const WORDS_MIN: usize = 5;
/// The longest passage.
const BYTES_MAX: usize = 1_500;

/// The passages of one file, whose text comes in blocks: a paragraph doesn't reach over the end of one.
pub(super) fn split<'t>(blocks: impl IntoIterator<Item = &'t str>) -> Vec<String> {
    join(blocks.into_iter().flat_map(paragraphs))
}

/// The passages of paragraphs that follow each other, whatever blank lines they hold.
pub(super) fn join<'t>(paragraphs: impl IntoIterator<Item = &'t str>) -> Vec<String> {
    let mut passages = Vec::new();
    let mut open = String::new();
    for paragraph in paragraphs {
        if !open.is_empty() && open.len() + 2 + paragraph.len() > BYTES_MAX {
            passages.push(std::mem::take(&mut open));
        }
        if !open.is_empty() {
            open.push_str("\n\n");
        }
        open.push_str(paragraph);
        if open.len() > BYTES_MAX {
            let mut rest = open.as_str();
            while rest.len() > BYTES_MAX {
                let (piece, after) = rest.split_at(end_of_piece(rest));
                passages.push(piece.to_owned());
                rest = after.trim_start();
            }
            let left = rest.len();
            open = open.split_off(open.len() - left);
        }
        if words(&open) >= WORDS_ENOUGH {
            passages.push(std::mem::take(&mut open));
        }
    }
    passages.push(open);
    for passage in &mut passages {
        passage.truncate(passage.trim_end().len());
    }
    passages.retain(|passage| words(passage) >= WORDS_MIN);
    passages
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

fn paragraphs(block: &str) -> Vec<&str> {
    let mut paragraphs = Vec::new();
    let (mut start, mut at) = (0, 0);
    let mut in_code = false;
    for line in block.split_inclusive('\n') {
        let content = line.trim();
        if content.starts_with("```") || content.starts_with("~~~") {
            in_code = !in_code;
        }
        if content.is_empty() && !in_code {
            paragraphs.push(&block[start..at]);
            start = at + line.len();
        }
        at += line.len();
    }
    paragraphs.push(&block[start..]);
    paragraphs.retain(|paragraph| !paragraph.trim().is_empty());
    paragraphs.into_iter().map(str::trim_end).collect()
}

/// Where to cut a text that is longer than [`BYTES_MAX`]: after a line or a sentence in the second half of what fits, else
/// between words, else between characters.
fn end_of_piece(text: &str) -> usize {
    let mut end = BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let fits = &text[..end];
    let good = |at: &usize| *at >= end / 2;
    let after_line = fits.rfind('\n').map(|at| at + 1).filter(good);
    let after_sentence = || fits.rfind(". ").map(|at| at + 2).filter(good);
    let after_word = || fits.rfind(char::is_whitespace).filter(|at| *at > 0);
    after_line.or_else(after_sentence).or_else(after_word).unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(words: usize) -> String {
        vec!["word"; words].join(" ")
    }

    #[test]
    fn short_paragraphs_are_joined_and_leftovers_dropped() {
        let text = format!("{}\n\n{}\n \n{}\n\nToo short.", sentence(30), sentence(10), sentence(41));
        let passages = split([text.as_str()]);
        assert_eq!(passages, [format!("{}\n\n{}", sentence(30), sentence(10)), sentence(41)]);
        let blocks = [sentence(20), sentence(20), "Five words are a passage.".to_owned()];
        let passages = split(blocks.iter().map(String::as_str));
        assert_eq!(passages.len(), 2);
        assert!(split([""]).is_empty());
    }

    #[test]
    fn a_blank_line_in_code_ends_nothing() {
        let code = "```\nlet a = 1;\n\nlet b = 2;\n```";
        assert_eq!(paragraphs(&format!("Before.\n\n{code}\n\nAfter.\n")), ["Before.", code, "After."]);
        assert_eq!(paragraphs("```\nnever closed\n\nstill code"), ["```\nnever closed\n\nstill code"]);
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_loses_none() {
        for text in ["é".repeat(5_000), "👍 ".repeat(2_000), format!("{}. ", sentence(30)).repeat(40)] {
            // Without spaces there are no five words, so the pieces are looked at before they are chosen.
            let mut rest = text.as_str();
            while rest.len() > BYTES_MAX {
                let end = end_of_piece(rest);
                assert!(end > 0 && end <= BYTES_MAX);
                rest = &rest[end..];
            }
            for passage in split([text.as_str()]) {
                assert!(passage.len() <= BYTES_MAX);
            }
        }
        let long = format!("{}. ", sentence(30)).repeat(40);
        assert_eq!(split([long.as_str()]).iter().map(|passage| words(passage)).sum::<usize>(), 30 * 40);
    }
}
