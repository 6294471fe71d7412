//! Messages that no code is written for: what is derived from descriptors must not need any.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use protox::{
    Compiler,
    file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver},
};

use crate::schema::{Material, Populate};

const NAME: &str = "widget.proto";

static WIDGETS: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let mut resolver = ChainFileResolver::new();
    resolver.add(IncludeFileResolver::new(env!("CARGO_MANIFEST_DIR").into()));
    resolver.add(GoogleFileResolver::new());
    resolver.add(Source);
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_file(NAME).unwrap();
    compiler.descriptor_pool()
});

struct Source;

impl FileResolver for Source {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == NAME {
            File::from_source(name, include_str!("widget.proto"))
        } else {
            Err(protox::Error::file_not_found(name))
        }
    }
}

pub(super) fn pool() -> &'static DescriptorPool {
    &WIDGETS
}

pub(super) fn descriptor() -> MessageDescriptor {
    pool().get_message_by_name("test.v1.Widget").unwrap()
}

/// With every field set, and this one of its targets: `remote`, `local` or `literal`.
pub(super) fn widget(arm: usize) -> DynamicMessage {
    Populate::new(&material()).arms(&|_| arm).dynamic(&descriptor())
}

pub(super) fn material() -> Material {
    Material { ca_pem: "a CA".into(), chain_pem: "a chain".into(), private_key_pem: "a key".into() }
}

/// From JSON, as people write it.
pub(super) fn of_json(json: &str) -> DynamicMessage {
    DynamicMessage::deserialize(descriptor(), &mut serde_json::Deserializer::from_str(json)).unwrap()
}

pub(super) fn json(message: &DynamicMessage) -> serde_json::Value {
    serde_json::to_value(message).unwrap()
}
