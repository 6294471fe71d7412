//! A request that has a field which the control plane does not know is refused by its path, whatever method it is for: decoded, the field
//! would be lost, and the call would succeed without what it asks for.

use anyhow::{Context, Result, ensure};
use bytes::{Buf, BufMut, Bytes};
use prost_reflect::{DescriptorPool, MethodDescriptor};
use switchyard_proto::DESCRIPTORS;
use switchyard_tests::{database::Database, fleet::Fleet, newer};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

/// Messages as they are on the wire.
#[derive(Clone, Copy, Default)]
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

async fn call(channel: &Channel, token: &str, method: &MethodDescriptor, encoded: Vec<u8>) -> Result<Status> {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let mut request = Request::new(Bytes::from(encoded));
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
    let mut client = Grpc::new(channel.clone());
    client.ready().await?;
    // An answer that streams, too, begins with the refusal.
    match client.unary(request, path.parse()?, Encoded).await {
        Ok(_) => Ok(Status::ok("")),
        Err(status) => Ok(status),
    }
}

/// The methods of the API.
fn methods() -> Result<Vec<MethodDescriptor>> {
    let pool = DescriptorPool::decode(DESCRIPTORS)?;
    let services = pool.services().filter(|service| service.parent_file().package_name() == "switchyard.v1");
    Ok(services.flat_map(|service| service.methods().collect::<Vec<_>>()).collect())
}

#[tokio::test]
async fn every_method_refuses_an_unknown_field_at_every_level_by_its_path() -> Result<()> {
    let fleet = Fleet::without_edges(Database::Sqlite).await?;
    let channel = Endpoint::from_shared(format!("http://{}", fleet.control_plane.admin))?.connect().await?;
    let token = fleet.control_plane.admin_token()?;
    let (methods, mut variants) = (methods()?, 0);
    ensure!(methods.len() > 40, "{} methods", methods.len());
    for method in &methods {
        for newer in newer::unknown_fields(method.input().full_name(), &[])? {
            let status = call(&channel, &token, method, newer.encoded).await?;
            let violations = status.get_details_bad_request().with_context(|| format!("{method:?}: {status:?}"))?;
            let named: Vec<_> = violations.field_violations.iter().map(|it| it.field.as_str()).collect();
            ensure!((status.code(), named.as_slice()) == (Code::InvalidArgument, &[newer.path.as_str()]), "{status:?}");
            variants += 1;
        }
    }
    ensure!(variants > 2 * methods.len(), "{variants} variants");
    // With the same codec, what is known is answered as always.
    let listed = methods.iter().find(|it| it.name() == "ListDomains").context("a method")?;
    ensure!(call(&channel, &token, listed, Vec::new()).await?.code() == Code::Ok);
    Ok(())
}
