//! The order in which k6 lists names: that of its JavaScript engine's `localeCompare`, an alphabet and not a code table.

use std::cmp::Ordering;

/// Signs come first, in this order, then digits and letters; what is not ASCII comes last.
const SIGNS: &str = "\t\n _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$";

/// Compares two names or tags.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let letters = a.chars().map(primary).cmp(b.chars().map(primary));
    // Only names that differ in nothing else are told apart by their case, small letters first.
    letters.then_with(|| a.chars().map(char::is_uppercase).cmp(b.chars().map(char::is_uppercase)))
}

fn primary(c: char) -> (usize, char) {
    let sign = SIGNS.chars().position(|sign| sign == c);
    (sign.unwrap_or(SIGNS.len()), if sign.is_some() { ' ' } else { c.to_ascii_lowercase() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As k6 1.8.1 listed them.
    #[test]
    fn names_sort_as_k6_sorts_them() {
        let listed = [
            "_under",
            "a_1",
            "a_data_sent",
            "a1",
            "a10",
            "a2",
            "A2",
            "AB",
            "ab_c",
            "aB_D",
            "abc",
            "foo",
            "foo_bar",
            "vus",
            "vus_max",
            "vus_x",
            "vusx",
            "zz",
            "zZ",
            "Zz",
            "ZZ",
        ];
        let mut sorted = listed;
        sorted.sort_unstable();
        sorted.sort_by(|a, b| compare(a, b));
        assert_eq!(sorted, listed);
    }
}
