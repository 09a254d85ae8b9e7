//! Which known names a mistyped word is close to.

/// The candidates within two edits of `word`, or beginning with it; nearest first.
pub(crate) fn names<'a>(word: &str, candidates: &[&'a str]) -> Vec<&'a str> {
    let mut near: Vec<(usize, &str)> = candidates
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(edits, candidate)| {
            // Two edits turn any two-letter word into any other: allow fewer for short words.
            *edits <= 2.min(word.len() / 2) || (!word.is_empty() && candidate.starts_with(word))
        })
        .collect();
    near.sort_unstable();
    near.into_iter().map(|(_, candidate)| candidate).collect()
}

/// Levenshtein distance: inserted, deleted and replaced characters.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(l != *r);
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
        assert_eq!(distance("stress", "stress"), 0);
    }

    #[test]
    fn near_names_are_nearest_first_and_far_ones_left_out() {
        assert_eq!(names("tets", &["test", "stress", "ci"]), ["test"]);
        assert_eq!(names("sab", &["sabotage", "test"]), ["sabotage"]);
        assert!(names("zz", &["ci"]).is_empty());
    }
}
