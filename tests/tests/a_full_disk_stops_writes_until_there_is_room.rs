//! With SQLite on a disk that is full, changes are refused with the reason and health says so; once there is room, both go on by themselves.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use switchyard_proto::v1::GetServiceRequest;
use switchyard_tests::{
    client::Client,
    database::Database,
    eventually::eventually,
    fleet::{ControlPlane, Fleet},
};
use tonic::{Code, Status};

const DISK_BYTES: usize = 8 << 20;
/// Changes that find room on a full disk, in what the database has already.
const CHANGES_MAX: usize = 2_000;

/// Writes until there is no room.
fn fill(path: &Path) -> Result<()> {
    let mut file = File::create(path)?;
    for chunk in [1 << 16, 1 << 9, 1] {
        for _ in 0..=DISK_BYTES / chunk {
            match file.write_all(&vec![0; chunk]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// What `/readyz` says: its status and its body.
async fn readiness(control_plane: &ControlPlane) -> Result<(u16, String)> {
    let answer = Client::http(control_plane.admin).get(&format!("http://{}/readyz", control_plane.admin)).await?;
    Ok((answer.status.as_u16(), String::from_utf8(answer.body.to_vec())?))
}

#[tokio::test]
async fn a_full_disk_is_named_and_writes_go_on_by_themselves_when_there_is_room() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let disk = dir.path().join("disk");
    fs::create_dir(&disk)?;
    let mut control_plane = ControlPlane::new(dir.path(), Database::Sqlite, Vec::new())?;
    control_plane.set_disk(disk, DISK_BYTES);
    control_plane.start().await?;
    let api = control_plane.api()?;
    api.create_service("shop").await?;
    fill(&control_plane.on_disk("filler")?)?;

    let mut refused: Option<Status> = None;
    for number in 0..CHANGES_MAX {
        if let Err(status) = api.create_service(&format!("shop-{number}")).await {
            refused = Some(status);
            break;
        }
    }
    let refused = refused.context("a change is refused")?;
    ensure!(refused.code() == Code::Unavailable, "{refused:?}");
    ensure!(refused.message().contains("no space left on device"), "{refused:?}");
    eventually("health says why", async || match readiness(&control_plane).await? {
        (503, body) if body.contains("no space left on device") => Ok(()),
        other => bail!("{other:?}"),
    })
    .await?;
    // Each connection of the pool meets it, some more than once.
    for number in 0..20 {
        let again = api.create_service(&format!("again-{number}")).await.err().context("it is still full")?;
        ensure!(again.message().contains("no space left on device"), "{again:?}");
    }
    let request = GetServiceRequest { name: "services/shop".into() };
    api.services.clone().get_service(request).await.context("reads go on")?;

    fs::remove_file(control_plane.on_disk("filler")?)?;
    eventually("health says that it serves", async || match readiness(&control_plane).await? {
        (200, _) => Ok(()),
        other => bail!("{other:?}"),
    })
    .await?;
    for number in 0..20 {
        api.create_service(&format!("later-{number}")).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_second_control_plane_on_the_same_file_refuses_to_start() -> Result<()> {
    let mut fleet = Fleet::without_edges(Database::Sqlite).await?;
    let mut second = ControlPlane::new(fleet.dir(), Database::Sqlite, Vec::new())?;
    ensure!(second.data_dir == fleet.control_plane.data_dir, "both have the same directory");
    let refused = second.fail().await?;
    let said = String::from_utf8(refused.stderr)?;
    ensure!(refused.status.code() == Some(1), "{said}");
    let file = second.data_dir.join("switchyard.db");
    ensure!(said.contains(&format!("another control plane runs on {}", file.display())), "{said}");
    // A crash gives the file back.
    fleet.control_plane.kill().await?;
    second.start().await
}
