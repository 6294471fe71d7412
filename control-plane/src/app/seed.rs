//! The seed file: what an empty database begins with, besides its foundation.

mod file;

use std::path::Path;

pub use self::file::{InvalidContent, InvalidSeed, LetsEncrypt, SECTIONS, Seed, SettingNote};
use super::{App, AppError, Mode, backend, domain, issuer};
use crate::model::{Actor, Origin};

/// What became of a seed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything in it was created.
    Loaded {
        /// How many domains.
        domains: usize,
        /// How many backends.
        backends: usize,
    },
    /// Nothing was changed: somebody has declared something in this database before.
    NotEmpty,
}

/// Reads a seed file.
///
/// # Errors
///
/// It cannot be read, or says something that cannot be; with the line and the column.
pub fn read(path: &Path) -> Result<Seed, InvalidSeed> {
    file::read(path)
}

/// Loads a seed into a database in which nobody has declared anything yet: all of it, or nothing.
///
/// # Errors
///
/// The database does not answer, or a backend or domain cannot be created.
pub async fn load(app: &App, seed: &Seed) -> Result<Outcome, AppError> {
    let actor = Actor::without_call("seed file", Origin::Seed);
    let mut change = app.begin(&actor, Mode::Commit).await?;
    if !change.transaction.is_pristine().await? {
        return Ok(Outcome::NotEmpty);
    }
    if let Some(LetsEncrypt { issuer: id, email }) = &seed.lets_encrypt {
        issuer::create_known_in(&mut change, id.clone(), email.clone()).await?;
    }
    for backend in &seed.backends {
        backend::create_in(&mut change, backend.clone()).await?;
    }
    for domain in &seed.domains {
        domain::create_in(app, &mut change, domain.clone()).await?;
    }
    app.finish(change).await?;
    Ok(Outcome::Loaded { domains: seed.domains.len(), backends: seed.backends.len() })
}
