use prost_reflect::{FieldDescriptor, MessageDescriptor};

use super::{DEPTH_MAX, FieldOptions, join, nested};

/// The most names that are suggested for one that does not exist.
const SUGGESTIONS_MAX: usize = 3;

/// Why a path names no field that can be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// There is no such field.
    #[error("{path:?} is no field; {}", suggestion(.nearest, .fields))]
    Unknown {
        /// The path.
        path: String,
        /// Paths that look like it.
        nearest: Vec<String>,
        /// The fields that are where it ceases to lead on.
        fields: Vec<String>,
    },
    /// It leads into a list, a map or a value, which are set as a whole.
    #[error("{path:?} leads into {end}, which is set as a whole")]
    Within {
        /// The path.
        path: String,
        /// Where it has to end.
        end: String,
    },
    /// The control plane sets the field.
    #[error("{path:?} is for output only")]
    Output {
        /// The path.
        path: String,
    },
}

impl InvalidPath {
    /// The path that is wrong.
    pub fn path(&self) -> &str {
        match self {
            Self::Unknown { path, .. } | Self::Within { path, .. } | Self::Output { path } => path,
        }
    }
}

fn suggestion(nearest: &[String], fields: &[String]) -> String {
    match nearest {
        [] => format!("the fields there are {}", fields.join(", ")),
        nearest => format!("the nearest are {}", nearest.join(", ")),
    }
}

/// The paths of the fields of a resource that can be set, each before those within it.
pub fn paths(message: &MessageDescriptor) -> Vec<String> {
    let mut paths = Vec::new();
    collect(message, "", &mut paths, 0);
    paths
}

fn collect(message: &MessageDescriptor, path: &str, paths: &mut Vec<String>, depth: usize) {
    for field in message.fields().filter(|field| !FieldOptions::of(field).is_output()) {
        let path = join(path, field.name());
        paths.push(path.clone());
        if let Some(inner) = nested(&field).filter(|_| depth < DEPTH_MAX) {
            collect(&inner, &path, paths, depth + 1);
        }
    }
}

/// The fields that a path leads through, the named one last.
pub(super) fn resolve(message: &MessageDescriptor, path: &str) -> Result<Vec<FieldDescriptor>, InvalidPath> {
    let mut fields: Vec<FieldDescriptor> = Vec::new();
    for name in path.split('.') {
        let within = match fields.last() {
            None => Some(message.clone()),
            Some(field) => nested(field),
        };
        let Some(within) = within else {
            let end: Vec<&str> = path.split('.').take(fields.len()).collect();
            return Err(InvalidPath::Within { path: path.to_owned(), end: end.join(".") });
        };
        let Some(field) = within.get_field_by_name(name) else { return Err(unknown(message, &within, path)) };
        if FieldOptions::of(&field).is_output() {
            return Err(InvalidPath::Output { path: path.to_owned() });
        }
        fields.push(field);
    }
    Ok(fields)
}

fn unknown(message: &MessageDescriptor, within: &MessageDescriptor, path: &str) -> InvalidPath {
    // A name without a path to it is compared with names.
    let distance = |candidate: &str| match candidate.rsplit('.').next() {
        Some(name) if !path.contains('.') => strsim::damerau_levenshtein(name, path),
        _ => strsim::damerau_levenshtein(candidate, path),
    };
    let near = path.len().min(64) / 4 + 1;
    // A path that nobody would write is not compared with all that there are.
    let candidates = if path.len() <= 256 { paths(message) } else { Vec::new() };
    let mut nearest: Vec<(usize, String)> = candidates.into_iter().map(|it| (distance(&it), it)).collect();
    nearest.sort();
    let best = nearest.first().map_or(0, |(distance, _)| *distance);
    nearest.retain(|(distance, _)| *distance <= near.min(best + 1));
    nearest.truncate(SUGGESTIONS_MAX);
    let fields = within.fields().filter(|field| !FieldOptions::of(field).is_output());
    InvalidPath::Unknown {
        path: path.to_owned(),
        nearest: nearest.into_iter().map(|(_, it)| it).collect(),
        fields: fields.map(|field| field.name().to_owned()).collect(),
    }
}
