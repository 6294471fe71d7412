//! Calls of the API by their descriptors: with messages in JSON, and everything that comes back as bytes.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::{Buf, BufMut, Bytes};
use futures::StreamExt;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, prost::Message};
use serde_json::Value;
use switchyard_proto::{Bearer, DESCRIPTORS};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::{KeyAndValueRef, MetadataMap},
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};

use crate::eventually::within;

/// The package of the API.
const PACKAGE: &str = "switchyard.v1";

/// Every method of the API.
pub fn methods() -> Result<Vec<MethodDescriptor>> {
    let pool = DescriptorPool::decode(DESCRIPTORS)?;
    let services = pool.services().filter(|service| service.package_name() == PACKAGE);
    Ok(services.flat_map(|service| service.methods().collect::<Vec<_>>()).collect())
}

/// Calls methods of the API with a token.
#[derive(Clone)]
pub struct AnyMethod(InterceptedService<Channel, Bearer>);

/// What came back of a call.
#[derive(Debug)]
pub struct Reply {
    /// How it ended; `Ok` also for a stream that would have gone on.
    pub code: Code,
    /// The messages, the first of them if the method streams.
    pub messages: Vec<DynamicMessage>,
    /// All of it: messages, metadata, status and its details.
    pub bytes: Vec<u8>,
}

impl Reply {
    /// A field of the first message, as text.
    pub fn text(&self, field: &str) -> String {
        let value = self.messages.first().and_then(|message| message.get_field_by_name(field));
        value.as_deref().and_then(prost_reflect::Value::as_str).unwrap_or_default().to_owned()
    }

    fn add_metadata(&mut self, metadata: &MetadataMap) {
        for entry in metadata.iter() {
            match entry {
                KeyAndValueRef::Ascii(key, value) => {
                    self.bytes.extend_from_slice(key.as_str().as_bytes());
                    self.bytes.extend_from_slice(value.as_bytes());
                }
                KeyAndValueRef::Binary(key, value) => {
                    self.bytes.extend_from_slice(key.as_str().as_bytes());
                    self.bytes.extend_from_slice(&value.to_bytes().unwrap_or_default());
                }
            }
        }
    }

    fn add_status(&mut self, status: &Status) {
        self.code = status.code();
        self.bytes.extend_from_slice(status.message().as_bytes());
        self.bytes.extend_from_slice(status.details());
        self.add_metadata(status.metadata());
    }
}

impl AnyMethod {
    /// Connects when it is first used.
    pub fn new(admin: SocketAddr, token: &str) -> Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{admin}"))?.connect_lazy();
        Ok(Self(InterceptedService::new(channel, Bearer::new(token)?)))
    }

    /// Calls a method, and takes its answer: of a stream, the first message.
    pub async fn call(&self, method: &MethodDescriptor, request: &Value) -> Result<Reply> {
        let message = DynamicMessage::deserialize(method.input(), request).context(method.full_name().to_owned())?;
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name()).parse()?;
        let mut client = Grpc::new(self.0.clone());
        client.ready().await?;
        let outgoing = futures::stream::iter([message.encode_to_vec()]);
        let mut reply = Reply { code: Code::Ok, messages: Vec::new(), bytes: Vec::new() };
        let called = within(method.full_name(), client.streaming(Request::new(outgoing), path, Raw)).await?;
        let (metadata, mut incoming, _) = match called {
            Ok(response) => response.into_parts(),
            Err(status) => {
                reply.add_status(&status);
                return Ok(reply);
            }
        };
        reply.add_metadata(&metadata);
        loop {
            match within(method.full_name(), incoming.next()).await? {
                None => break,
                Some(Ok(bytes)) => {
                    reply.bytes.extend_from_slice(&bytes);
                    reply.messages.push(DynamicMessage::decode(method.output(), bytes)?);
                    if method.is_server_streaming() {
                        return Ok(reply);
                    }
                }
                Some(Err(status)) => {
                    reply.add_status(&status);
                    return Ok(reply);
                }
            }
        }
        if let Some(trailers) = incoming.trailers().await? {
            reply.add_metadata(&trailers);
        }
        Ok(reply)
    }
}

/// Messages as they are.
#[derive(Clone, Copy, Debug)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
