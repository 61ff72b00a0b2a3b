//! The command line of the broker (`kafka.Kafka`): a properties file, then overrides.

use std::path::PathBuf;

use super::failure::{Failure, JavaError};
use super::options::{OptionSpec, Options, key_values};
use super::output::log_error;

pub static TABLE: &[OptionSpec] = &[
    OptionSpec::valued("override", "String", "property=value that wins over the file; may be repeated."),
    OptionSpec::switch("version", "Print the version and end."),
];

/// What a broker is started with.
#[derive(Debug, PartialEq, Eq)]
pub struct ServerArgs {
    pub file: PathBuf,
    pub overrides: Vec<(String, String)>,
}

/// Reads the command line; when there is nothing to start, says why (or prints help or version) and gives the exit
/// code.
pub fn parse(args: &[String]) -> Result<ServerArgs, i32> {
    check(args).map_err(|failure| {
        failure.finish(|error| log_error("kafka.Kafka$", "Exiting Kafka due to fatal exception", error))
    })
}

fn check(args: &[String]) -> Result<ServerArgs, Failure> {
    let has = |word: &str| args.iter().any(|arg| arg == word);
    let (file, rest) = match args.split_first() {
        Some(split) if !has("--help") => split,
        _ => {
            let usage = "USAGE: java [options] kafka.Kafka server.properties [--override property=value]*";
            return Err(Failure::usage(TABLE, usage));
        }
    };
    if has("--version") {
        return Err(Failure::Version);
    }
    if !std::path::Path::new(file).exists() {
        return Err(JavaError::no_such_file(file).into());
    }
    let options = Options::parse(TABLE, rest)?;
    if !options.rest.is_empty() {
        return Err(options.usage(format!("Found non argument parameters: {}", options.rest.join(","))));
    }
    Ok(ServerArgs { file: PathBuf::from(file), overrides: key_values(&options.values("override")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_and_overrides() {
        let words: Vec<String> = ["/dev/null", "--override", "a=b=c", "-override", "d="].map(str::to_owned).into();
        let parsed = parse(&words).unwrap();
        assert_eq!(parsed.overrides, [("a".to_owned(), "b=c".to_owned()), ("d".to_owned(), String::new())]);
        assert_eq!(parse(&["/nonexistent".to_owned()]), Err(1));
        assert_eq!(parse(&["--version".to_owned()]), Err(0));
    }
}
