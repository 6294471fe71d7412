use std::{collections::BTreeMap, fmt};

use super::{
    id::is_word,
    limits::{ID_BYTES_MAX, LABELS_MAX},
};

/// What an edge is labelled with: words with a word each, `region=eu`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// Takes labels.
    ///
    /// # Errors
    ///
    /// There are too many, or one is no pair of words.
    pub fn new(labels: impl IntoIterator<Item = (String, String)>) -> Result<Self, InvalidLabels> {
        let labels: BTreeMap<_, _> = labels.into_iter().collect();
        if labels.len() > LABELS_MAX {
            return Err(InvalidLabels::TooMany);
        }
        let is_label = |text: &str| text.len() <= ID_BYTES_MAX && is_word(text, "");
        match labels.iter().find(|(name, value)| !is_label(name) || !is_label(value)) {
            Some((name, value)) => Err(InvalidLabels::Text(format!("{name}={value}"))),
            None => Ok(Self(labels)),
        }
    }

    /// The pairs, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether all of `others` are among these.
    pub fn contain(&self, others: &Self) -> bool {
        others.0.iter().all(|(name, value)| self.0.get(name) == Some(value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `region=eu,role=edge`
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{name}={value}")?;
        }
        Ok(())
    }
}

/// Why texts are no labels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLabels {
    /// One is not a pair of words.
    #[error(
        "{0:?}: name and value of a label have 1 to {ID_BYTES_MAX} of a-z, 0-9, '-', '_' and '.', and begin and end with a \
         letter or digit"
    )]
    Text(String),
    /// There are more than anybody needs.
    #[error("there are at most {LABELS_MAX} labels")]
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Result<Labels, InvalidLabels> {
        Labels::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn labels_are_pairs_of_words() {
        let edge = labels(&[("role", "edge"), ("region", "eu")]).unwrap();
        assert_eq!(edge.to_string(), "region=eu,role=edge");
        assert!(edge.contain(&labels(&[("region", "eu")]).unwrap()) && edge.contain(&Labels::default()));
        assert!(!edge.contain(&labels(&[("region", "us")]).unwrap()));
        assert!(!edge.contain(&labels(&[("zone", "a")]).unwrap()));
        for bad in [("", "a"), ("a", ""), ("A", "a"), ("a", "b c"), ("a", &"b".repeat(64))] {
            assert!(matches!(labels(&[bad]), Err(InvalidLabels::Text(_))), "{bad:?}");
        }
        let many: Vec<_> = (0..=LABELS_MAX).map(|number| (number.to_string(), "a".to_owned())).collect();
        assert_eq!(Labels::new(many), Err(InvalidLabels::TooMany));
    }
}
