//! What most tests begin with: one service with a backend of tag `a` and one of tag `b`, and a domain on `a`.

use anyhow::Result;

use crate::{fleet::Fleet, origin::Origin};

/// The host of the domain.
pub const HOST: &str = "shop.example";

/// The service `shop`, its backends `shop-a` and `shop-b`, and the domain [`HOST`] with an internal certificate.
pub struct Shop {
    /// The backend of tag `a`.
    pub a: Origin,
    /// The backend of tag `b`.
    pub b: Origin,
}

impl Shop {
    /// Starts the backends, creates everything, and awaits that it is live on every edge.
    pub async fn open(fleet: &Fleet) -> Result<Self> {
        let api = fleet.api()?;
        let shop = Self { a: Origin::start("shop-a", "a").await?, b: Origin::start("shop-b", "b").await? };
        api.create_service("shop").await?;
        api.create_backend("shop-a", "shop", &shop.a.address(), &["a"]).await?;
        api.create_backend("shop-b", "shop", &shop.b.address(), &["b"]).await?;
        let domain = api.create_internal_domain(HOST, "shop", "a").await?;
        fleet.live(domain.revision).await?;
        Ok(shop)
    }
}
