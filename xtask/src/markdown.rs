//! A Markdown text taken apart into prose, code and the targets of its links.

/// A part of a Markdown text, with the line that it begins on, counted from 1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Text between backticks.
    Code { line: usize, text: String },
    /// One line of a fenced block.
    Fenced { line: usize, text: String },
    /// The target of a link or image, without its title.
    Link { line: usize, target: String },
}

/// Everything in `text` that names something: code and links.
pub(crate) fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut paragraph = String::new();
    let mut begins = 1;
    let mut fence: Option<String> = None;
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        if let Some(open) = &fence {
            if trimmed.starts_with(open.as_str()) {
                fence = None;
            } else {
                pieces.push(Piece::Fenced { line: index + 1, text: line.to_owned() });
            }
            begins = index + 2;
        } else if let Some(open) = fence_mark(trimmed) {
            split_paragraph(&std::mem::take(&mut paragraph), begins, &mut pieces);
            fence = Some(open);
        } else if trimmed.is_empty() {
            // A code span never goes past the end of its paragraph.
            split_paragraph(&std::mem::take(&mut paragraph), begins, &mut pieces);
            begins = index + 2;
        } else {
            paragraph.push_str(line);
            paragraph.push('\n');
        }
    }
    split_paragraph(&paragraph, begins, &mut pieces);
    pieces
}

fn fence_mark(line: &str) -> Option<String> {
    ['`', '~'].into_iter().find_map(|mark| {
        let length = line.chars().take_while(|&character| character == mark).count();
        (length >= 3).then(|| mark.to_string().repeat(length))
    })
}

fn split_paragraph(paragraph: &str, begins: usize, pieces: &mut Vec<Piece>) {
    let line_of = |at: usize| begins + paragraph[..at].matches('\n').count();
    let mut prose = paragraph.as_bytes().to_vec();
    let mut at = 0;
    while let Some(found) = paragraph[at..].find('`') {
        let open = at + found;
        let run = backticks(&paragraph[open..]);
        let Some(length) = closing(&paragraph[open + run..], run) else {
            at = open + run;
            continue;
        };
        let inside = open + run..open + run + length;
        pieces.push(Piece::Code { line: line_of(open), text: paragraph[inside.clone()].to_owned() });
        prose[inside.clone()].fill(b' ');
        at = inside.end + run;
    }
    // Whole spans were blanked, so no character was cut apart.
    let prose = String::from_utf8_lossy(&prose);
    for (at, target) in inline_links(&prose).into_iter().chain(link_definitions(&prose)) {
        pieces.push(Piece::Link { line: line_of(at), target });
    }
}

fn backticks(text: &str) -> usize {
    text.bytes().take_while(|&byte| byte == b'`').count()
}

/// How far off the next run of exactly `run` backticks is.
fn closing(text: &str, run: usize) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = text[at..].find('`') {
        let length = backticks(&text[at + found..]);
        if length == run {
            return Some(at + found);
        }
        at += found + length;
    }
    None
}

/// `[text](target "title")`
fn inline_links(prose: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (at, _) in prose.match_indices("](") {
        let Some(inside) = prose[at + 2..].split(')').next() else { continue };
        if let Some(target) = inside.split_whitespace().next() {
            links.push((at, target.trim_matches(['<', '>']).to_owned()));
        }
    }
    links
}

/// `[label]: target`, but not a footnote.
fn link_definitions(prose: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut at = 0;
    for line in prose.split_inclusive('\n') {
        let definition = line.trim_start().strip_prefix('[').filter(|rest| !rest.starts_with('^'));
        if let Some((_, target)) = definition.and_then(|rest| rest.split_once("]: "))
            && let Some(target) = target.split_whitespace().next()
        {
            links.push((at, target.trim_matches(['<', '>']).to_owned()));
        }
        at += line.len();
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(line: usize, text: &str) -> Piece {
        Piece::Code { line, text: text.into() }
    }

    fn link(line: usize, target: &str) -> Piece {
        Piece::Link { line, target: target.into() }
    }

    #[test]
    fn code_spans_may_wrap_and_hold_backticks() {
        assert_eq!(pieces("# t\n\na `b\nc` `` d`e `` f"), [code(3, "b\nc"), code(4, " d`e ")]);
    }

    #[test]
    fn a_stray_backtick_does_not_reach_into_the_next_paragraph() {
        assert_eq!(pieces("a ` b\n\nc `d`"), [code(3, "d")]);
    }

    #[test]
    fn fenced_lines_are_kept_apart() {
        let text = "a\n```sh\ncargo `x\n```\n\n`b`";
        assert_eq!(pieces(text), [Piece::Fenced { line: 3, text: "cargo `x".into() }, code(6, "b")]);
    }

    #[test]
    fn links_are_found_in_prose_but_not_in_code() {
        let text = "[a](b.md \"title\") ![c](<d.png>) `[e](f)`\n[`g`](h.md#i)\n[j]: k.md\n[^1]: no";
        let links: Vec<Piece> =
            pieces(text).into_iter().filter(|piece| matches!(piece, Piece::Link { .. })).collect();
        assert_eq!(links, [link(1, "b.md"), link(1, "d.png"), link(2, "h.md#i"), link(3, "k.md")]);
    }
}
