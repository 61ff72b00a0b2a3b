//! The option table as Kafka's tools print it (joptsimple's layout): two columns in 80 characters, options
//! sorted by name, continuation lines indented by two, every line padded to the full width.

use super::options::{OptionSpec, Presence, Value};

const WIDTH: usize = 80;
const GAP: usize = 2;
const INDENT: usize = 2;

/// The whole table with its heading; every line ends with a newline.
pub fn table(options: &[OptionSpec]) -> String {
    let mut options: Vec<&OptionSpec> = options.iter().collect();
    options.sort_by_key(|spec| spec.name);
    let any_required = options.iter().any(|spec| matches!(spec.presence, Presence::Always));
    let heading = if any_required { "Option (* = required)" } else { "Option" };
    let mut rows: Vec<(String, String)> = vec![
        (heading.to_owned(), "Description".to_owned()),
        ("-".repeat(heading.len()), "-".repeat("Description".len())),
    ];
    rows.extend(options.iter().map(|spec| (left(spec), right(spec))));
    let widest = |pick: fn(&(String, String)) -> &String| rows.iter().map(|row| pick(row).chars().count()).max();
    let first = widest(|row| &row.0).unwrap_or(0).min((WIDTH - GAP) / 2);
    let second = widest(|row| &row.1).unwrap_or(0).min(WIDTH - GAP - first);
    let broken: Vec<(Vec<String>, Vec<String>)> =
        rows.iter().map(|(option, description)| (pieces(option, first), pieces(description, second))).collect();
    // Broken lines may be shorter than there was room for; columns are no wider than they need be.
    let needed = |lines: &[String]| lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let first = broken.iter().map(|(option, _)| needed(option)).max().unwrap_or(0);
    let second = broken.iter().map(|(_, description)| needed(description)).max().unwrap_or(0);
    let mut text = String::new();
    for (option, description) in &broken {
        for line in 0..option.len().max(description.len()) {
            let cell = |cells: &[String]| cells.get(line).cloned().unwrap_or_default();
            text.push_str(&format!("{:first$}  {:second$}\n", cell(option), cell(description)));
        }
    }
    text
}

fn left(spec: &OptionSpec) -> String {
    let star = if matches!(spec.presence, Presence::Always) { "* " } else { "" };
    match spec.value {
        Value::Switch => format!("{star}--{}", spec.name),
        Value::Required(label) => format!("{star}--{} <{label}>", spec.name),
        Value::Optional(label) => format!("{star}--{} [{label}]", spec.name),
    }
}

fn right(spec: &OptionSpec) -> String {
    match spec.default {
        Some(default) => format!("{} (default: {default})", spec.help).trim_start().to_owned(),
        None => spec.help.to_owned(),
    }
}

/// The lines a text takes in a column: broken after blanks and hyphens, each given line on its own.
fn pieces(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for given in text.split('\n') {
        let mut line = String::new();
        for word in given.split_inclusive([' ', '-']) {
            if line.chars().count() + word.chars().count() > width && !line.trim().is_empty() {
                lines.push(line.trim_end().to_owned());
                line = " ".repeat(INDENT);
            }
            line.push_str(word);
        }
        lines.push(line.trim_end().to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::options::{HELP, VERSION};

    #[test]
    fn layout_is_that_of_joptsimple() {
        let table = table(&[
            OptionSpec::valued("bootstrap-server", "String: server(s) to use for bootstrapping", "Where to connect."),
            HELP,
            VERSION,
        ]);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[2].starts_with("--bootstrap-server <String: server(s)  Where to connect. "), "{}", lines[2]);
        assert_eq!(lines[3].trim_end(), "  to use for bootstrapping>");
        assert!(table.lines().all(|line| line.chars().count() == lines[0].chars().count()));
    }
}
