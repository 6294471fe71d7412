//! A resource in the editor of whoever runs the command, as YAML.
//!
//! What was changed there is found by the descriptor of the message, so that fields that nobody touched are not sent: what somebody else changes
//! of them meanwhile stays.

use std::{env, fs, io::Write, path::PathBuf};

use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, ReflectMessage};
use serde::{Serialize, de::DeserializeOwned};
use switchyard_proto::schema::{self, Behavior, FieldOptions};
use tempfile::NamedTempFile;
use tokio::process::Command;

use crate::failure::Failure;

/// What is run where neither `VISUAL` nor `EDITOR` says.
const EDITOR_DEFAULT: &str = "vi";

/// What was made of a resource.
#[derive(Debug)]
pub(crate) struct Edited<M> {
    pub(crate) message: M,
    /// The paths of what was changed.
    pub(crate) paths: Vec<String>,
    file: NamedTempFile,
}

impl<M> Edited<M> {
    /// Keeps the file with what was written, and says where it is.
    pub(crate) fn keep(self) -> Result<PathBuf, Failure> {
        keep(self.file)
    }
}

/// Lets people change what can be set of a message. `None`: they changed nothing.
pub(crate) async fn edit<M>(before: &M, title: &str) -> Result<Option<Edited<M>>, Failure>
where
    M: prost::Name + Default + Serialize + DeserializeOwned,
{
    let before = schema::input(&schema::dynamic(before));
    let text = document::<M>(&before, title)?;
    let of_directory = |error: std::io::Error| Failure::File { path: env::temp_dir(), reason: error.to_string() };
    let mut file = tempfile::Builder::new().prefix("switchyard-").suffix(".yaml").tempfile().map_err(of_directory)?;
    file.write_all(text.as_bytes()).map_err(of_directory)?;
    open(&file).await?;
    let edited = match fs::read_to_string(file.path()) {
        Ok(edited) => edited,
        Err(error) => return Err(Failure::File { path: file.path().to_owned(), reason: error.to_string() }),
    };
    // Who deletes everything thinks better of it.
    if edited == text || edited.lines().all(|line| line.trim().is_empty() || line.starts_with('#')) {
        return Ok(None);
    }
    let message: M = match serde_saphyr::from_str(&edited) {
        Ok(message) => message,
        Err(error) => return Err(invalid(file, &error.to_string())),
    };
    let after = schema::input(&schema::dynamic(&message));
    let mut paths = Vec::new();
    if let Err(fixed) = changes(&before, &after, "", &mut paths) {
        return Err(invalid(file, &format!("{fixed} says which resource it is, and cannot be changed")));
    }
    Ok((!paths.is_empty()).then(|| Edited { message: schema::typed(&after), paths, file }))
}

/// The message as YAML, with what there is to know above it.
fn document<M: prost::Name + Default + Serialize>(message: &DynamicMessage, title: &str) -> Result<String, Failure> {
    let yaml =
        serde_saphyr::to_string(&schema::typed::<M>(message)).map_err(|error| Failure::Format(error.to_string()))?;
    let mut fields = Vec::new();
    settable(&message.descriptor(), "", &mut fields);
    let fields = fields.join("\n#   ");
    Ok(format!(
        "# {title}\n# Save and close to apply; an empty file changes nothing. What can be set:\n#   {fields}\n{yaml}\n"
    ))
}

/// The paths of what can be set, as YAML writes them.
fn settable(message: &MessageDescriptor, path: &str, found: &mut Vec<String>) {
    for field in message.fields() {
        let options = FieldOptions::of(&field);
        if options.is_output() || options.is(Behavior::Identifier) {
            continue;
        }
        let path = join(path, field.json_name());
        match field.kind() {
            Kind::Message(inner) if !field.is_list() && !field.is_map() && !schema::is_well_known(&inner) => {
                settable(&inner, &path, found);
            }
            _ => found.push(path),
        }
    }
}

async fn open(file: &NamedTempFile) -> Result<(), Failure> {
    let named = |name| env::var(name).ok().filter(|editor| !editor.trim().is_empty());
    let editor = named("VISUAL").or_else(|| named("EDITOR")).unwrap_or_else(|| EDITOR_DEFAULT.to_owned());
    // By a shell, as it may have arguments: `code --wait`.
    let ended = Command::new("sh").arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(file.path()).status().await;
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::Usage(format!("the editor {editor:?} ended with {status}: nothing was changed"))),
        Err(error) => Err(Failure::Usage(format!("the editor {editor:?} does not start: {error}"))),
    }
}

/// What was written cannot be applied, and is kept.
fn invalid(file: NamedTempFile, reason: &str) -> Failure {
    match keep(file) {
        Ok(path) => Failure::File { path, reason: format!("{reason} (what you wrote is kept in this file)") },
        Err(failure) => failure,
    }
}

fn keep(file: NamedTempFile) -> Result<PathBuf, Failure> {
    let (_, path) = file
        .keep()
        .map_err(|error| Failure::File { path: error.file.path().to_owned(), reason: error.error.to_string() })?;
    Ok(path)
}

/// Adds the paths of the fields that differ, none within another; fails with a field that says which resource it is.
fn changes(before: &DynamicMessage, after: &DynamicMessage, path: &str, paths: &mut Vec<String>) -> Result<(), String> {
    for field in before.descriptor().fields() {
        let has = (before.has_field(&field), after.has_field(&field));
        let (old, new) = (before.get_field(&field), after.get_field(&field));
        let path = join(path, field.name());
        if has.0 == has.1 && old == new {
            continue;
        }
        if FieldOptions::of(&field).is(Behavior::Identifier) {
            return Err(path);
        }
        match (old.as_message(), new.as_message()) {
            (Some(old), Some(new)) if has == (true, true) && !schema::is_well_known(&old.descriptor()) => {
                changes(old, new, &path, paths)?;
            }
            _ => paths.push(path),
        }
    }
    Ok(())
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use switchyard_proto::v1::{AcmeSettings, Domain, DomainTls, TlsVersion};

    use super::*;

    fn domain() -> Domain {
        Domain {
            name: "domains/shop.example".to_owned(),
            active_tag: "a".to_owned(),
            tls: Some(DomainTls { minimum_version: TlsVersion::V12.into(), ..DomainTls::default() }),
            ..Domain::default()
        }
    }

    fn changed(change: impl FnOnce(&mut Domain)) -> Result<Vec<String>, String> {
        let mut after = domain();
        change(&mut after);
        let mut paths = Vec::new();
        changes(&schema::dynamic(&domain()), &schema::dynamic(&after), "", &mut paths).map(|()| paths)
    }

    #[test]
    fn only_what_differs_is_named() {
        let tls = |domain: &mut Domain, version: TlsVersion| {
            domain.tls.get_or_insert_default().minimum_version = version.into();
        };
        assert_eq!(changed(|_| {}).unwrap(), [""; 0]);
        let two = changed(|it| {
            it.active_tag = "b".to_owned();
            tls(it, TlsVersion::V13);
        });
        assert_eq!(two.unwrap(), ["active_tag", "tls.minimum_version"]);
        assert_eq!(changed(|it| it.tls = None).unwrap(), ["tls"]);
        let acme = AcmeSettings::default();
        assert_eq!(changed(|it| it.tls.get_or_insert_default().acme = Some(acme)).unwrap(), ["tls.acme"]);
        assert_eq!(changed(|it| it.name = "domains/x".to_owned()).unwrap_err(), "name");
    }

    #[test]
    fn the_document_holds_the_message_and_names_what_can_be_set() {
        let text = document::<Domain>(&schema::dynamic(&domain()), "domain shop.example").unwrap();
        assert!(text.starts_with("# domain shop.example\n"), "{text}");
        for path in ["\n#   activeTag\n", "\n#   tls.acme.onDemand.hookUrl\n", "\n#   edgeSelector\n"] {
            assert!(text.contains(path), "{path}: {text}");
        }
        assert!(!text.contains("previousTag") && !text.contains("#   name"), "{text}");
        assert_eq!(serde_saphyr::from_str::<Domain>(&text).unwrap(), domain());
    }
}
