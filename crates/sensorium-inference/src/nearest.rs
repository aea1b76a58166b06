//! The name that was probably meant.

/// The closest of `names` to `wrong` by Damerau-Levenshtein distance, if at most a third of the letters differ.
pub fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lowered = wrong.to_lowercase();
    let allowed = (wrong.chars().count() / 3).max(1);
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&lowered, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_transpositions_and_refuses_strangers() {
        assert_eq!(nearest("minlim", ["credit", "minilm"]), Some("minilm"));
        assert_eq!(nearest("INCOME", ["income", "age"]), Some("income"));
        assert_eq!(nearest("photo", ["income", "age"]), None);
    }
}
