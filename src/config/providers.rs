//! Values that stand elsewhere: `${provider:path:key}` with the providers Kafka brings along
//! (`AbstractConfig.resolveConfigVariables`): a properties file, a directory of files, the environment.

use super::error::ConfigError;
use super::properties::Properties;
use super::value::csv;
use std::collections::BTreeMap;
use std::path::Path;

const PACKAGE: &str = "org.apache.kafka.common.config.provider.";

#[derive(Clone, Copy)]
enum Provider {
    File,
    Directory,
    Env,
}

/// Replaces the variables of all values. Without `config.providers` nothing is one.
pub(super) fn resolve(properties: Properties) -> Result<Properties, ConfigError> {
    let mut providers = BTreeMap::new();
    for name in csv(properties.get("config.providers").unwrap_or_default()) {
        let class = properties.get(&format!("config.providers.{name}.class")).unwrap_or_default().trim().to_owned();
        let provider = match class.strip_prefix(PACKAGE) {
            Some("FileConfigProvider") => Provider::File,
            Some("DirectoryConfigProvider") => Provider::Directory,
            Some("EnvVarConfigProvider") => Provider::Env,
            _ => {
                let key = format!("config.providers.{name}.class");
                return Err(ConfigError::invalid(
                    key,
                    class,
                    "Only Kafka's own file, directory and environment providers are known",
                ));
            }
        };
        providers.insert(name, provider);
    }
    if providers.is_empty() {
        return Ok(properties);
    }
    properties.iter().map(|(k, v)| Ok((k.to_owned(), replace(v, &providers)?))).collect()
}

/// Replaces `${provider:[path:]key}`; what is not found stays as it is.
fn replace(text: &str, providers: &BTreeMap<String, Provider>) -> Result<String, ConfigError> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((variable, tail)) = after.split_once('}') else { break };
        out.push_str(before);
        let found = match variable.split_once(':').and_then(|(name, what)| Some((providers.get(name)?, what))) {
            Some((provider, what)) => {
                let (path, key) = what.split_once(':').unwrap_or(("", what));
                look_up(*provider, path, key)?
            }
            None => None,
        };
        match found {
            Some(value) => out.push_str(&value),
            None => out.push_str(&format!("${{{variable}}}")),
        }
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

fn look_up(provider: Provider, path: &str, key: &str) -> Result<Option<String>, ConfigError> {
    match provider {
        Provider::Env => Ok(std::env::var(key).ok()),
        Provider::File if path.is_empty() => Ok(None),
        Provider::File => match Properties::read(Path::new(path)) {
            Ok(file) => Ok(file.get(key).map(str::to_owned)),
            Err(_) => Err(ConfigError::Config(format!("Could not read properties from file {path}"))),
        },
        Provider::Directory => {
            // A key is the name of a file in the directory, not a way out of it.
            let file = Path::new(path).join(key);
            if path.is_empty() || key.contains('/') || !file.is_file() {
                return Ok(None);
            }
            let read = std::fs::read_to_string(&file);
            read.map(Some)
                .map_err(|_| ConfigError::Config(format!("Could not read file {} for property {key}", file.display())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::config;

    #[test]
    fn passwords_come_from_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret.properties");
        std::fs::write(&file, "pw=geheim\n").unwrap();
        let provider = ("config.providers.file.class", "org.apache.kafka.common.config.provider.FileConfigProvider");
        let variable = format!("a${{file:{}:pw}}z${{file:{0}:none}}", file.display());
        let cfg = config(&[("config.providers", "file"), provider, ("ssl.key.password", &variable)]).unwrap();
        assert_eq!(cfg.string("ssl.key.password"), format!("ageheimz${{file:{}:none}}", file.display()));
        assert!(cfg.warnings().is_empty());
        let cfg = config(&[("ssl.key.password", "${file:/x:y}")]).unwrap();
        assert_eq!(cfg.string("ssl.key.password"), "${file:/x:y}");
        let e = config(&[("config.providers", "file"), provider, ("ssl.key.password", "${file:/nonexistent:y}")])
            .unwrap_err();
        assert_eq!(e.to_string(), "Could not read properties from file /nonexistent");
    }
}
