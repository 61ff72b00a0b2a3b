//! Topics by pattern, as tools take them (`TopicFilter.IncludeList`): a regular expression for whole names, in which
//! commas are alternatives; blanks and quotes around it do not count.

use regex::Regex;

/// The pattern, or what is left of the text that is none.
pub fn include_list(raw: &str) -> Result<Regex, String> {
    let cleaned = raw.trim().replace(',', "|").replace(' ', "");
    let cleaned = cleaned.trim_matches(['"', '\'']);
    Regex::new(&format!("^(?:{cleaned})$")).map_err(|_| cleaned.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        let matches = |pattern: &str, name: &str| include_list(pattern).unwrap().is_match(name);
        assert!(matches("t[1-3]", "t2") && !matches("t[1-3]", "t22"));
        assert!(matches("'t1, t2'", "t2"));
        assert_eq!(include_list("(").unwrap_err(), "(");
    }
}
