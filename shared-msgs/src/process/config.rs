//! Layered configuration: the type's own defaults, then a TOML file, then environment variables `PREFIX__SECTION__KEY`.
//!
//! Knows no key: that is the type's business (`#[serde(default, deny_unknown_fields)]` on every section). Invariant: an error names
//! the key and the file or variable it came from, and quotes no value, since any value may be a secret.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::de::DeserializeOwned;

use super::advice::io_remedy;
use blame::key_error;

mod blame;

/// A configuration file is read up to this size.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where the file layer comes from.
#[derive(Clone, Copy, Debug)]
pub enum ConfigFile<'a> {
    /// Somebody asked for this file: it must exist.
    Named(&'a Path),
    /// Nobody asked: read if it exists.
    IfPresent(&'a Path),
    /// No file.
    None,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {}: {source}; {}", path.display(), io_remedy(source))]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("configuration file {}, line {line}: {problem}; correct the line (TOML: `key = value` below `[section]`)", path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Where.
        line: usize,
        /// What the parser says; the line itself is not quoted.
        problem: String,
    },
    /// A variable of ours with a value or name that cannot be used.
    #[error("environment variable {variable}: {problem}")]
    Variable {
        /// Which.
        variable: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A key that is unknown, missing, or of the wrong kind.
    #[error("{place}: `{key}`: {problem}")]
    Key {
        /// The file or variable.
        place: String,
        /// Dotted.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A secret both by value and by file.
    #[error("`{name}` and `{name}_file` are both set: give one of them")]
    BothSecrets {
        /// The setting.
        name: &'static str,
    },
    /// A secret's file cannot be read.
    #[error("`{name}_file` {}: {source}; {}", path.display(), io_remedy(source))]
    SecretFile {
        /// The setting.
        name: &'static str,
        /// Its value.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A key where the path of its file should be.
    #[error(
        "`{name}_file` holds a key and not the path of its file: put the key into a file (chmod 600) and name that, or set `{name}`"
    )]
    SecretForFile {
        /// The setting.
        name: &'static str,
    },
    /// A secret's file is none, nor a pipe.
    #[error("`{name}_file` {} is a folder or a device: name a file that holds the secret", path.display())]
    NoSecretFile {
        /// The setting.
        name: &'static str,
        /// Its value.
        path: PathBuf,
    },
    /// A secret's file lets others in.
    #[error(
        "`{name}_file` {} has mode {mode:03o}: others may read or change the secret (chmod 600 it; root may keep it and give it to \
         the group of this program, chmod 640)",
        path.display()
    )]
    ExposedSecretFile {
        /// The setting.
        name: &'static str,
        /// Its value.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A secret's file holds nothing.
    #[error("`{name}_file` {} is empty: put the secret into it, on one line", path.display())]
    EmptySecretFile {
        /// The setting.
        name: &'static str,
        /// Its value.
        path: PathBuf,
    },
}

/// Loads a configuration from `file` and the process's environment.
///
/// # Errors
/// [`ConfigError`].
pub fn load<T: DeserializeOwned>(file: ConfigFile<'_>, env_prefix: &str) -> Result<T, ConfigError> {
    load_from(file, env_prefix, std::env::vars_os())
}

/// Like [`load`], with the environment as a parameter.
///
/// A variable's value is taken as a text first, exactly as it stands, so that a password `1234` or `[x]` is what it is; where the key
/// wants something else, it is read as a number, a boolean or a list `[a, b]`.
///
/// # Errors
/// [`ConfigError`].
pub fn load_from<T: DeserializeOwned>(
    file: ConfigFile<'_>,
    env_prefix: &str,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<T, ConfigError> {
    let (path, from_file) = match file {
        ConfigFile::Named(path) => (Some(path), Layer(read_file(path)?)),
        // One that is there and cannot be read is not the same as none.
        ConfigFile::IfPresent(path) => match read_file(path) {
            Err(ConfigError::File { source, .. }) if is_absent(&source) => (None, Layer::default()),
            read => (Some(path), Layer(read?)),
        },
        ConfigFile::None => (None, Layer::default()),
    };
    let mut variables = own_variables(env_prefix, variables)?;
    loop {
        let mut env = Dict::new();
        for variable in &variables {
            insert(&mut env, &variable.path, variable.value())
                .map_err(|problem| ConfigError::Variable { variable: variable.name.clone(), problem })?;
        }
        let error = match Figment::from(from_file.clone()).merge(Layer(env)).extract() {
            Ok(config) => return Ok(config),
            Err(error) => error,
        };
        // A value that was wrong as a text gets its second reading; each has but one, so this ends.
        if let Some(variable) = variables.iter_mut().find(|v| error.path.starts_with(&v.path) && !v.typed) {
            variable.typed = true;
            continue;
        }
        let in_file = lookup(&from_file.0, &error.path);
        let at_fault = variables
            .iter()
            .find(|v| error.path.starts_with(&v.path) || (!in_file && v.path.starts_with(&error.path)));
        return Err(key_error(&error, at_fault.map(|v| v.name.as_str()), path));
    }
}

/// One layer of settings.
#[derive(Clone, Default)]
struct Layer(Dict);

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::default()
    }
    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.0.clone())]))
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

fn read_file(path: &Path) -> Result<Dict, ConfigError> {
    let failed = |source| ConfigError::File { path: path.to_owned(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(failed(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "over 1 MiB")));
    }
    // The error's own text would quote the line.
    Toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text.bytes().take(at).filter(|&byte| byte == b'\n').count() + 1;
        ConfigError::Syntax { path: path.to_owned(), line, problem: error.message().replace('\n', ", ") }
    })
}

/// A variable that sets a key.
struct Variable {
    name: String,
    path: Vec<String>,
    text: String,
    /// Whether to read it as a number, boolean or list.
    typed: bool,
}

impl Variable {
    fn value(&self) -> Value {
        let text = || Value::from(self.text.clone());
        if self.typed { self.text.parse().unwrap_or_else(|_| text()) } else { text() }
    }
}

fn own_variables(
    prefix: &str,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<Variable>, ConfigError> {
    let mut own = BTreeMap::new();
    for (name, value) in variables {
        let Some(name) = name.to_str() else { continue };
        let Some(path) = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix("__")) else { continue };
        let bad = |problem| ConfigError::Variable { variable: name.to_owned(), problem };
        let path: Vec<_> = path.split("__").map(str::to_ascii_lowercase).collect();
        if path.iter().any(String::is_empty) {
            return Err(bad("its name has an empty part: it is PREFIX__SECTION__KEY"));
        }
        let text =
            value.into_string().map_err(|_| bad("its value is not UTF-8: write it as a text in UTF-8"))?;
        let variable = Variable { name: name.to_owned(), path: path.clone(), text, typed: false };
        if own.insert(path, variable).is_some() {
            return Err(bad("the same key is set twice, in capitals and in small letters: keep one"));
        }
    }
    Ok(own.into_values().collect())
}

fn insert(dict: &mut Dict, path: &[String], value: Value) -> Result<(), &'static str> {
    match path {
        [] => Ok(()),
        [key] => dict
            .insert(key.clone(), value)
            .map_or(Ok(()), |_| Err("another variable sets something inside this key: unset one of them")),
        [section, rest @ ..] => match dict.entry(section.clone()).or_insert_with(|| Value::from(Dict::new()))
        {
            Value::Dict(_, inner) => insert(inner, rest, value),
            _ => Err("another variable sets the whole section: unset one of them"),
        },
    }
}

/// Whether `path` is set in `dict`.
fn lookup(dict: &Dict, path: &[String]) -> bool {
    match path {
        [] => true,
        [key, rest @ ..] => match dict.get(key) {
            Some(Value::Dict(_, inner)) => lookup(inner, rest),
            Some(_) => rest.is_empty(),
            None => false,
        },
    }
}

#[cfg(test)]
mod tests;
