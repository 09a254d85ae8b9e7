//! A Rust file seen without its comments and texts, so that a rule about code isn't set off by words.

/// `source` with every comment and the inside of every literal blanked. Lines and columns (in bytes) stay.
pub(crate) fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => end_of_line(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => end_of_block_comment(bytes, at),
            b'"' => {
                let end = end_of_text(bytes, at);
                blank(&mut code[at + 1..(end - 1).max(at + 1)]);
                at = end;
                continue;
            }
            b'r' => match end_of_raw_text(bytes, at) {
                Some(end) => end,
                None => at,
            },
            b'\'' => end_of_character(source, at).unwrap_or(at),
            _ => at,
        };
        blank(&mut code[at..end]);
        at = end.max(at + 1);
    }
    // Only whole literals and comments were blanked, so no character was cut apart.
    String::from_utf8_lossy(&code).into_owned()
}

/// Whether `word` stands in `code` as a word of its own, and where.
pub(crate) fn find_word(code: &str, word: &str) -> Option<usize> {
    code.match_indices(word).map(|(at, _)| at).find(|&at| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(is_identifier) && !after.is_some_and(is_identifier)
    })
}

pub(crate) fn is_identifier(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn blank(bytes: &mut [u8]) {
    for byte in bytes {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

fn end_of_line(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |length| at + length)
}

fn end_of_block_comment(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn end_of_text(bytes: &[u8], quote: usize) -> usize {
    let mut at = quote + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of a raw text whose `r` is at `at`; nothing for a name that has an r, or a raw name (`r#type`).
fn end_of_raw_text(bytes: &[u8], at: usize) -> Option<usize> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    let prefix = if at > 0 && matches!(bytes[at - 1], b'b' | b'c') { at - 1 } else { at };
    if prefix > 0 && is_name(bytes[prefix - 1]) {
        return None;
    }
    let hashes = bytes[at + 1..].iter().take_while(|&&byte| byte == b'#').count();
    let open = at + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let length = bytes[open + 1..].windows(close.len()).position(|window| window == close);
    Some(length.map_or(bytes.len(), |length| open + 1 + length + close.len()))
}

/// The end of a character literal whose quote is at `at`; nothing for a lifetime.
fn end_of_character(source: &str, at: usize) -> Option<usize> {
    let rest = &source[at + 1..];
    let first = rest.chars().next()?;
    if first == '\\' {
        // The escaped character may be a quote: look for the closing one behind it.
        let escaped = 1 + rest[1..].chars().next()?.len_utf8();
        return Some(at + 1 + escaped + rest[escaped..].find('\'')? + 1);
    }
    rest[first.len_utf8()..].starts_with('\'').then(|| at + 1 + first.len_utf8() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeps(source: &str, expected: &str) {
        let code = code_only(source);
        assert_eq!(code.len(), source.len());
        assert_eq!(code.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{source}");
    }

    #[test]
    fn comments_go() {
        keeps("a // b\nc", "a c");
        keeps("a /* b /* c */ d */ e", "a e");
        keeps("//! é\nx", "x");
    }

    #[test]
    fn texts_go_but_their_quotes_stay() {
        keeps(r#"f("a // \" b", c)"#, r#"f(" ", c)"#);
        keeps("#[ignore = \"slow\"]", "#[ignore = \" \"]");
        keeps("g(\"\")", "g(\"\")");
    }

    #[test]
    fn raw_texts_go_and_raw_names_stay() {
        keeps("a r#\"b \" c\"# d", "a d");
        keeps("a br\"b\" d", "a b d");
        keeps("r#type for_r\"x\"", "r#type for_r\" \"");
    }

    #[test]
    fn characters_go_and_lifetimes_stay() {
        keeps("fn f<'a>(x: &'a str) { '\"'; '\\''; 'é' }", "fn f<'a>(x: &'a str) { ; ; }");
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(find_word("unsafe_code unsafe {", "unsafe"), Some(12));
        assert_eq!(find_word("my_tokio", "tokio"), None);
    }
}
