//! Which known names a mistyped one is close to.

/// Candidates within a third of the word's length in edits (two at least), or that contain it; nearest first.
pub(crate) fn names<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    const SHOWN_MAX: usize = 5;
    let edits_max = (word.chars().count() / 3).max(2);
    let mut near: Vec<(usize, &str)> = candidates
        .into_iter()
        .filter_map(|candidate| {
            // Without its suite a name is compared with names without theirs.
            let last = candidate.rsplit('.').next().unwrap_or(candidate);
            let short = if word.contains('.') { candidate } else { last };
            let edits = distance(word, short);
            let contains = !word.is_empty() && candidate.contains(word);
            (edits <= edits_max || contains).then_some((edits, candidate))
        })
        .collect();
    near.sort_unstable();
    near.into_iter().map(|(_, candidate)| candidate).take(SHOWN_MAX).collect()
}

/// Levenshtein distance: inserted, deleted and replaced characters.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn near_names_are_nearest_first() {
        let known = ["memory.search", "memory.searches", "index.soak", "grpc.burst"];
        assert_eq!(names("serch", known), ["memory.search"]);
        assert_eq!(names("memory.serch", known), ["memory.search", "memory.searches"]);
        assert_eq!(names("soa", known), ["index.soak"]);
        assert!(names("quite_another", known).is_empty());
        assert!(names("", []).is_empty());
    }
}
