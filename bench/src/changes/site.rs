use std::time::{Duration, Instant};

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use switchyard_proto::v1::{CertificateSource, Domain, DomainTls};
use switchyard_tests::{
    api::{Api, domain},
    database::Database,
    fleet::ControlPlane,
    origin::Origin,
};
use tempfile::TempDir;

use crate::{cores, meter::Meter, report::progress};

/// Changes that are under way at a time while the domains are made.
const CREATING: usize = 16;

/// A control plane with many domains, and two backends.
pub(super) struct Site {
    pub(super) control_plane: ControlPlane,
    pub(super) domains: usize,
    /// How long the control plane took to start with all that.
    pub(super) cold_start: Duration,
    pub(super) dir: TempDir,
    _origins: [Origin; 2],
}

impl Site {
    /// Makes domains, each with a certificate of its own, and starts the control plane anew.
    pub(super) async fn with(domains: usize) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let origins = [Origin::start("blue", "a").await?, Origin::start("green", "b").await?];
        let mut control_plane = ControlPlane::new(dir.path(), Database::Sqlite, Vec::new())?;
        cores::measured(control_plane.start()).await?;
        let api = control_plane.api()?;
        api.create_service("bench").await?;
        for (origin, tag) in origins.iter().zip(["a", "b"]) {
            api.create_backend(tag, "bench", &origin.address(), &[tag]).await?;
        }
        let begun = Instant::now();
        stream::iter(0..domains)
            .map(|number| api.create(internal(&host(number))))
            .buffer_unordered(CREATING)
            .try_for_each(|_| async { Ok(()) })
            .await?;
        progress(&format!("{domains} domains with certificates made in {:.1} s", begun.elapsed().as_secs_f64()));
        control_plane.terminate().await?;
        let begun = Instant::now();
        cores::measured(control_plane.start()).await?;
        Ok(Self { control_plane, domains, cold_start: begun.elapsed(), dir, _origins: origins })
    }

    pub(super) fn api(&self) -> Result<Api> {
        self.control_plane.api()
    }

    pub(super) fn meter(&self) -> Result<Meter> {
        Meter::new(self.control_plane.process()?.id()?)
    }

    /// The domain that is changed next, spread over all of them.
    pub(super) fn host(&self, change: usize) -> String {
        host(change * 7919 % self.domains)
    }
}

fn host(number: usize) -> String {
    format!("domain-{number}.bench.example")
}

fn internal(host: &str) -> Domain {
    let tls = DomainTls {
        certificate_source: CertificateSource::Internal.into(),
        client_authentication: None,
        minimum_version: 0,
        acme: None,
    };
    Domain { tls: Some(tls), ..domain(host, "bench", "a") }
}
