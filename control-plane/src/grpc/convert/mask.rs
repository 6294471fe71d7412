use pbjson_types::FieldMask;

use super::violations::Violations;
use crate::app::AppError;

/// Paths in one mask.
const PATHS_MAX: usize = 100;

/// Which fields of a resource an update speaks of (AIP-134).
#[derive(Debug)]
pub(super) enum Mask {
    /// Every field that is set.
    SetFields,
    /// These, set or not.
    Paths(Vec<String>),
}

impl Mask {
    /// Reads a mask of which `known` are the possible paths. Empty, or `*`: every field that is set.
    pub(super) fn parse(mask: Option<FieldMask>, known: &[&str]) -> Result<Self, AppError> {
        let FieldMask { paths } = mask.unwrap_or_default();
        if paths.is_empty() || paths == ["*"] {
            return Ok(Self::SetFields);
        }
        let mut violations = Violations::default();
        if paths.len() > PATHS_MAX {
            violations.add("update_mask", format!("at most {PATHS_MAX} paths"));
            return violations.finish(None);
        }
        for path in &paths {
            if !known.contains(&path.as_str()) {
                let known = known.join(", ");
                violations.add("update_mask", format!("{path:?} is no field that can be changed; these are: {known}"));
            }
        }
        violations.finish(Some(Self::Paths(paths)))
    }

    /// Whether the update speaks of a field or of what it is part of: it does, if `is_set` or if the mask names it.
    pub(super) fn covers(&self, path: &str, is_set: bool) -> bool {
        match self {
            Self::SetFields => is_set,
            Self::Paths(paths) => paths.iter().any(|named| {
                path.strip_prefix(named.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["service", "tls", "tls.source", "tls_more"];

    fn mask(paths: &[&str]) -> Result<Mask, AppError> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        Mask::parse(Some(FieldMask { paths }), &KNOWN)
    }

    #[test]
    fn without_a_mask_the_set_fields_count() {
        for mask in [Mask::parse(None, &KNOWN).unwrap(), mask(&[]).unwrap(), mask(&["*"]).unwrap()] {
            assert!(mask.covers("service", true));
            assert!(!mask.covers("service", false));
        }
    }

    #[test]
    fn a_mask_names_fields_and_what_is_in_them() {
        let mask = mask(&["tls"]).unwrap();
        assert!(mask.covers("tls.source", false));
        assert!(!mask.covers("tls_more", true));
        assert!(!mask.covers("service", true));
    }

    #[test]
    fn an_unknown_path_is_refused_by_name() {
        let error = mask(&["service", "sevrice"]).unwrap_err().to_string();
        assert!(error.starts_with("update_mask: \"sevrice\""), "{error}");
        assert!(mask(&["service", "*"]).is_err());
    }
}
